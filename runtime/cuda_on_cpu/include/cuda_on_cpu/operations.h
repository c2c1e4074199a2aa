// Operations of a warp, and the functions of the engine that a kernel's text calls.
#pragma once
#include <stdint.h>

namespace cuda_on_cpu {

enum Operation {
    SYNC,
    SHFL,
    SHFL_UP,
    SHFL_DOWN,
    SHFL_XOR,
    ANY,
    ALL,
    BALLOT,
    MATCH_ANY,
    MATCH_ALL,
    REDUCE_ADD,
    REDUCE_MIN,
    REDUCE_MAX,
    REDUCE_AND,
    REDUCE_OR,
    REDUCE_XOR,
    CALL,
};

} // namespace cuda_on_cpu

extern "C" {

// Wait for the lanes of `mask`; `lane` and `width` are a shuffle's. Returns the value that the lane receives.
uint64_t cuda_on_cpu_warp(int operation, unsigned mask, uint64_t value, int lane, int width, int line);

// Wait for the whole warp; the last lane runs `call` on the operands of all 32.
void cuda_on_cpu_call(void (*call)(void** operands, unsigned mask), void* operand, unsigned mask, int line);

// Wait for the block. kind 0: nothing; 1, 2, 3: how many predicates hold, whether all do, whether any does.
int cuda_on_cpu_barrier(int line, int predicate, int kind);

// Tell of an access by code that is not instrumented. kind 0: read, 1: write, 2: atomic.
void cuda_on_cpu_access(const void* address, unsigned size, int kind, int line);

// A fence of the device: what the thread knows of now is published by its later atomic operations.
void cuda_on_cpu_fence(void);

// Tell of a wrong operand of a function at `line`: kind as in CudaOnCpuKind.
void cuda_on_cpu_wrong(int kind, int line, const char* text);

// Copies that are under way until the thread waits for them. bytes_read < bytes: the rest is zeros.
void cuda_on_cpu_copy_async(void* to, const void* from, unsigned bytes, unsigned bytes_read, int line);
void cuda_on_cpu_commit_copies(void);
void cuda_on_cpu_wait_copies(int groups_under_way);

// The running thread, for another after it while this one spins.
void cuda_on_cpu_yield(void);
void* cuda_on_cpu_dynamic_shared(void);
}
