// CUDA C++ for a C++ compiler: this text stands before a kernel's own when it is built for the CPU.
//
// Everything a kernel may name without an include: qualifiers, built-in variables, vector types, device functions.
// What runs on the CPU can tell by `CUDA_ON_CPU`.
#pragma once
#define CUDA_ON_CPU 1

#include <algorithm>
#include <cassert>
#include <cfloat>
#include <climits>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <type_traits>
#include <utility>

#include "cuda_on_cpu/operations.h"

#define CUDA_ON_CPU_PLAIN __attribute__((no_sanitize("thread"), no_sanitize("undefined")))

// Kernels and device functions are functions; a block's memory lies in a section of its own.
#define __global__
#define __device__
#define __host__
#define __constant__
#define __managed__
#define __grid_constant__
#ifdef __clang__
#define __shared__ static __attribute__((section("cuda_shared")))
#else // gcc would ask before each use whether an array of a class has been constructed, which a race would be
#define __shared__ static __constinit __attribute__((section("cuda_shared")))
#endif
#define __launch_bounds__(...)
#define __cluster_dims__(...)
#define __forceinline__ __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __align__(bytes) __attribute__((aligned(bytes)))

#include "cuda_on_cpu/vectors.h"

struct cuda_on_cpu_index {
    unsigned x, y, z;
    operator uint3() const { return {x, y, z}; }
    operator dim3() const { return {x, y, z}; }
};

// Constant: nothing that the same thread does between two calls can change the answer.
extern "C" {
cuda_on_cpu_index cuda_on_cpu_thread(void) __attribute__((const));
cuda_on_cpu_index cuda_on_cpu_block(void) __attribute__((const));
cuda_on_cpu_index cuda_on_cpu_block_size(void) __attribute__((const));
cuda_on_cpu_index cuda_on_cpu_grid_size(void) __attribute__((const));
}
#define threadIdx (cuda_on_cpu_thread())
#define blockIdx (cuda_on_cpu_block())
#define blockDim (cuda_on_cpu_block_size())
#define gridDim (cuda_on_cpu_grid_size())
static const int warpSize = 32;

inline void __syncthreads(int line = __builtin_LINE()) { cuda_on_cpu_barrier(line, 0, 0); }
inline int __syncthreads_count(int predicate, int line = __builtin_LINE()) { return cuda_on_cpu_barrier(line, predicate, 1); }
inline int __syncthreads_and(int predicate, int line = __builtin_LINE()) { return cuda_on_cpu_barrier(line, predicate, 2); }
inline int __syncthreads_or(int predicate, int line = __builtin_LINE()) { return cuda_on_cpu_barrier(line, predicate, 3); }
// One thread runs at a time: a fence has nothing to do but to tell the checks what later atomic operations publish.
inline void __threadfence() { cuda_on_cpu_fence(); }
inline void __threadfence_block() {}
inline void __threadfence_system() { cuda_on_cpu_fence(); }

#include "cuda_on_cpu/arithmetic.h"
#include "cuda_on_cpu/warp.h"
#include "cuda_on_cpu/atomics.h"
#include "cuda_on_cpu/kernels.h"
#include "cuda_runtime.h" // nvcc includes it by itself
