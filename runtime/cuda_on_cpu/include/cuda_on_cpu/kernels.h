// Describes kernels to the engine: how to call one with an array of pointers to its arguments, and what those are.
#pragma once
#include "../../engine/interface.h"

struct __half;
struct __nv_bfloat16;

namespace cuda_on_cpu {

template <class T> constexpr char type_code() {
    return std::is_same<T, bool>::value             ? 'b'
           : std::is_floating_point<T>::value       ? 'f'
           : std::is_same<T, __half>::value         ? 'h'
           : std::is_same<T, __nv_bfloat16>::value  ? 'n'
           : std::is_integral<T>::value             ? (std::is_signed<T>::value ? 'i' : 'u')
                                                    : 's';
}
template <class T> constexpr unsigned size_of() {
    if constexpr (std::is_void<T>::value) return 1;
    else return sizeof(T);
}

template <class T> struct Parameter {
    static constexpr CudaOnCpuParameter value = {0, type_code<std::remove_cv_t<T>>(), sizeof(T)};
};
template <class T> struct Parameter<T*> {
    using Plain = std::remove_cv_t<T>;
    static constexpr CudaOnCpuParameter value = {std::is_const<T>::value ? 2 : 1, type_code<Plain>(), size_of<Plain>()};
};

template <class Function> struct Kernel;
template <class... P> struct Kernel<void (*)(P...)> {
    static constexpr CudaOnCpuParameter parameters[sizeof...(P) + 1] = {Parameter<std::remove_cv_t<P>>::value..., {}};

    template <void (*function)(P...), size_t... number>
    CUDA_ON_CPU_PLAIN static void call(void** arguments, std::index_sequence<number...>) {
        (void)arguments;
        function(*static_cast<std::remove_cv_t<P>*>(arguments[number])...);
    }
    template <void (*function)(P...)> CUDA_ON_CPU_PLAIN static void invoke(void** arguments) {
        call<function>(arguments, std::index_sequence_for<P...>());
    }
    template <void (*function)(P...)> static constexpr CudaOnCpuKernel described(const char* name) {
        return {name, &invoke<function>, int(sizeof...(P)), parameters};
    }
};

} // namespace cuda_on_cpu

#define CUDA_ON_CPU_KERNEL(name, ...) cuda_on_cpu::Kernel<decltype(&__VA_ARGS__)>::described<&__VA_ARGS__>(name)
