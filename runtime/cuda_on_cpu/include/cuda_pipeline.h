// <cuda_pipeline.h> for the CPU: asynchronous copies from global to shared memory.
#pragma once

inline void __pipeline_memcpy_async(void* to, const void* from, size_t bytes, size_t zeros = 0,
                                    int line = __builtin_LINE()) {
    cuda_on_cpu_copy_async(to, from, unsigned(bytes), unsigned(bytes - zeros), line);
}
inline void __pipeline_commit() { cuda_on_cpu_commit_copies(); }
inline void __pipeline_wait_prior(size_t groups) { cuda_on_cpu_wait_copies(int(groups)); }
