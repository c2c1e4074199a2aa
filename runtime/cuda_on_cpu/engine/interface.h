// What a library of CUDA kernels built for the CPU offers to its caller (runtime/cuda_on_cpu/library.py, or C).
#pragma once
#include <stddef.h>

extern "C" {

enum CudaOnCpuKind {
    OUT_OF_BOUNDS,
    MISALIGNED,
    SHARED_RACE,
    GLOBAL_RACE,
    UNINITIALISED_SHARED,
    UNINITIALISED_GLOBAL,
    DIVERGENT_BARRIER,
    WRONG_MASK,
    UNDEFINED_ARITHMETIC,
    WRITE_TO_CONSTANT,
    WRONG_OPERAND,
    CRASH,
    TIME_LIMIT,
    ASSERTION,
};

struct CudaOnCpuParameter {
    int pointer;   // 0 a value, 1 a pointer, 2 a pointer to const
    char type;     // what it is or points to: f floating point, i signed, u unsigned, b bool, h half, n bfloat16, s other
    unsigned size; // bytes of the value, or of what it points to
};

struct CudaOnCpuKernel {
    const char* name;
    void (*invoke)(void** arguments);
    int parameters;
    const CudaOnCpuParameter* parameter;
};

// Memory of the "device". `initialised` has a byte for each granule, or is null when all of it is.
struct CudaOnCpuBuffer {
    void* begin;
    size_t bytes;
    unsigned granule; // bytes to tell apart: 1, 2 or 4
    int constant;     // only read
    unsigned char* initialised;
};

struct CudaOnCpuPlace {
    int line;    // of the kernel's text, or 0: then ask the debug information for `pc`
    unsigned pc; // offset in the library
    unsigned block[3], thread[3];
    int write;
};

struct CudaOnCpuReport {
    int kind;
    CudaOnCpuPlace here, other; // other.block[0] is ~0u when there is none
    int buffer;                 // number of a buffer; -1 none, -2 static shared memory, -3 dynamic shared memory,
                                // -4 a variable of the library
    long long offset;           // bytes from its beginning, from the library's for a variable
    unsigned size;              // bytes of the access
    unsigned long long times;
    char text[200];
};

struct CudaOnCpuLaunch {
    const char* kernel;
    unsigned grid[3], block[3];
    size_t shared_bytes;
    void** arguments; // pointers to the arguments, as for cuLaunchKernel
    int buffers;
    const CudaOnCpuBuffer* buffer;
    double seconds; // more than 0: in a child process that is stopped after so long; buffers must be shared memory
    int capacity;   // room for reports; one per kind and place is kept
    CudaOnCpuReport* report;
};

int cuda_on_cpu_kernels(void);
const CudaOnCpuKernel* cuda_on_cpu_kernel(int number);
size_t cuda_on_cpu_shared_bytes(void);
const char* cuda_on_cpu_shared_begin(void);
const char* cuda_on_cpu_base(void);

// Shared memory for `count` buffers, far from one another, so that no 32-bit index leads from one into the next.
void* cuda_on_cpu_reserve(int count, const size_t* bytes, void** places, size_t* reserved);
void cuda_on_cpu_release(void* area, size_t reserved);

// The number of reports; -1 when there is no such kernel, -2 when there is no memory.
int cuda_on_cpu_launch(const CudaOnCpuLaunch* launch);
}
