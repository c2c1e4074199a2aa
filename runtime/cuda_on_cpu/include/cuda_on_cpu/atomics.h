// Atomic operations: one thread runs at a time, so plain ones do; the checks are told that they are atomic.
#pragma once

#define CUDA_ON_CPU_ATOMIC(name, formula)                                                                \
    template <class T>                                                                                   \
    CUDA_ON_CPU_PLAIN inline T name(T* address, std::common_type_t<T> operand, int line = __builtin_LINE()) { \
        cuda_on_cpu_access(address, sizeof(T), 2, line);                                                 \
        const T old = *address, value = operand;                                                         \
        *address = formula;                                                                              \
        return old;                                                                                      \
    }                                                                                                    \
    template <class T>                                                                                   \
    CUDA_ON_CPU_PLAIN inline T name##_block(T* address, std::common_type_t<T> operand, int line = __builtin_LINE()) { \
        return name(address, operand, line);                                                             \
    }                                                                                                    \
    template <class T>                                                                                   \
    CUDA_ON_CPU_PLAIN inline T name##_system(T* address, std::common_type_t<T> operand, int line = __builtin_LINE()) { \
        return name(address, operand, line);                                                             \
    }
CUDA_ON_CPU_ATOMIC(atomicAdd, old + value)
CUDA_ON_CPU_ATOMIC(atomicSub, old - value)
CUDA_ON_CPU_ATOMIC(atomicExch, value)
CUDA_ON_CPU_ATOMIC(atomicMin, value < old ? value : old)
CUDA_ON_CPU_ATOMIC(atomicMax, old < value ? value : old)
CUDA_ON_CPU_ATOMIC(atomicAnd, old & value)
CUDA_ON_CPU_ATOMIC(atomicOr, old | value)
CUDA_ON_CPU_ATOMIC(atomicXor, old ^ value)
CUDA_ON_CPU_ATOMIC(atomicInc, old >= value ? T(0) : T(old + 1))
CUDA_ON_CPU_ATOMIC(atomicDec, old == 0 || old > value ? value : T(old - 1))

template <class T>
CUDA_ON_CPU_PLAIN inline T atomicCAS(T* address, std::common_type_t<T> compare, std::common_type_t<T> value,
                                     int line = __builtin_LINE()) {
    cuda_on_cpu_access(address, sizeof(T), 2, line);
    const T old = *address;
    if (old == compare) *address = value;
    else cuda_on_cpu_yield(); // whoever holds the lock may go on
    return old;
}
