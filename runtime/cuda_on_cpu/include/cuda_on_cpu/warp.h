// Shuffles, votes, matches and reductions of a warp.
#pragma once

template <class T> inline uint64_t cuda_on_cpu_word(T value) {
    static_assert(sizeof(T) <= 8, "a warp exchanges values of at most eight bytes");
    uint64_t word = 0;
    __builtin_memcpy(&word, &value, sizeof value);
    return word;
}
template <class T> inline T cuda_on_cpu_value(uint64_t word) {
    T value;
    __builtin_memcpy(&value, &word, sizeof value);
    return value;
}

#define CUDA_ON_CPU_SHUFFLE(name, operation, Lane)                                                            \
    template <class T>                                                                                        \
    CUDA_ON_CPU_PLAIN inline T name(unsigned mask, T value, Lane lane, int width = 32, int line = __builtin_LINE()) { \
        return cuda_on_cpu_value<T>(                                                                          \
            cuda_on_cpu_warp(cuda_on_cpu::operation, mask, cuda_on_cpu_word(value), int(lane), width, line)); \
    }
CUDA_ON_CPU_SHUFFLE(__shfl_sync, SHFL, int)
CUDA_ON_CPU_SHUFFLE(__shfl_up_sync, SHFL_UP, unsigned)
CUDA_ON_CPU_SHUFFLE(__shfl_down_sync, SHFL_DOWN, unsigned)
CUDA_ON_CPU_SHUFFLE(__shfl_xor_sync, SHFL_XOR, int)

inline void __syncwarp(unsigned mask = ~0u, int line = __builtin_LINE()) {
    cuda_on_cpu_warp(cuda_on_cpu::SYNC, mask, 0, 0, 32, line);
}
inline int __any_sync(unsigned mask, int predicate, int line = __builtin_LINE()) {
    return int(cuda_on_cpu_warp(cuda_on_cpu::ANY, mask, predicate != 0, 0, 32, line));
}
inline int __all_sync(unsigned mask, int predicate, int line = __builtin_LINE()) {
    return int(cuda_on_cpu_warp(cuda_on_cpu::ALL, mask, predicate != 0, 0, 32, line));
}
inline unsigned __ballot_sync(unsigned mask, int predicate, int line = __builtin_LINE()) {
    return unsigned(cuda_on_cpu_warp(cuda_on_cpu::BALLOT, mask, predicate != 0, 0, 32, line));
}
template <class T> CUDA_ON_CPU_PLAIN inline unsigned __match_any_sync(unsigned mask, T value, int line = __builtin_LINE()) {
    return unsigned(cuda_on_cpu_warp(cuda_on_cpu::MATCH_ANY, mask, cuda_on_cpu_word(value), 0, 32, line));
}
template <class T>
CUDA_ON_CPU_PLAIN inline unsigned __match_all_sync(unsigned mask, T value, int* equal, int line = __builtin_LINE()) {
    const auto lanes = unsigned(cuda_on_cpu_warp(cuda_on_cpu::MATCH_ALL, mask, cuda_on_cpu_word(value), 0, 32, line));
    *equal = lanes != 0;
    return lanes;
}

#define CUDA_ON_CPU_REDUCE(name, operation)                                                                  \
    inline unsigned name(unsigned mask, unsigned value, int line = __builtin_LINE()) {                       \
        return unsigned(cuda_on_cpu_warp(cuda_on_cpu::operation, mask, value, 0, 0, line));                  \
    }                                                                                                        \
    inline int name(unsigned mask, int value, int line = __builtin_LINE()) {                                 \
        return int(cuda_on_cpu_warp(cuda_on_cpu::operation, mask, uint64_t(int64_t(value)), 0, 1, line));    \
    }
CUDA_ON_CPU_REDUCE(__reduce_add_sync, REDUCE_ADD)
CUDA_ON_CPU_REDUCE(__reduce_min_sync, REDUCE_MIN)
CUDA_ON_CPU_REDUCE(__reduce_max_sync, REDUCE_MAX)
CUDA_ON_CPU_REDUCE(__reduce_and_sync, REDUCE_AND)
CUDA_ON_CPU_REDUCE(__reduce_or_sync, REDUCE_OR)
CUDA_ON_CPU_REDUCE(__reduce_xor_sync, REDUCE_XOR)

// Any subset of the lanes that could be here is an answer; the lane alone is one.
inline unsigned __activemask() {
    const cuda_on_cpu_index thread = threadIdx, size = blockDim;
    return 1u << ((thread.x + size.x * (thread.y + size.y * thread.z)) & 31);
}
