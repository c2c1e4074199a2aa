// <cuda_runtime.h> for the CPU: names that the host part of a file uses, so that the file builds. That part never runs.
#pragma once

enum cudaError_t { cudaSuccess = 0, cudaErrorMemoryAllocation = 2 };
typedef cudaError_t cudaError;
enum cudaMemcpyKind { cudaMemcpyHostToHost, cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost, cudaMemcpyDeviceToDevice, cudaMemcpyDefault };
typedef struct cuda_on_cpu_stream* cudaStream_t;
typedef struct cuda_on_cpu_event* cudaEvent_t;
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize = 8, cudaFuncAttributePreferredSharedMemoryCarveout };
struct cudaDeviceProp {
    char name[256];
    size_t totalGlobalMem, sharedMemPerBlock;
    int major, minor, multiProcessorCount, warpSize, maxThreadsPerBlock, clockRate, memoryClockRate, memoryBusWidth;
};

#define CUDA_ON_CPU_HOST(name)                                                                             \
    template <class... Arguments> inline cudaError_t name(Arguments&&...) { return cudaSuccess; }
CUDA_ON_CPU_HOST(cudaMalloc)
CUDA_ON_CPU_HOST(cudaMallocHost)
CUDA_ON_CPU_HOST(cudaMallocManaged)
CUDA_ON_CPU_HOST(cudaHostAlloc)
CUDA_ON_CPU_HOST(cudaFree)
CUDA_ON_CPU_HOST(cudaFreeHost)
CUDA_ON_CPU_HOST(cudaMemcpy)
CUDA_ON_CPU_HOST(cudaMemcpyAsync)
CUDA_ON_CPU_HOST(cudaMemcpyToSymbol)
CUDA_ON_CPU_HOST(cudaMemcpyFromSymbol)
CUDA_ON_CPU_HOST(cudaMemset)
CUDA_ON_CPU_HOST(cudaMemsetAsync)
CUDA_ON_CPU_HOST(cudaMemGetInfo)
CUDA_ON_CPU_HOST(cudaMemPrefetchAsync)
CUDA_ON_CPU_HOST(cudaDeviceSynchronize)
CUDA_ON_CPU_HOST(cudaDeviceReset)
CUDA_ON_CPU_HOST(cudaGetDevice)
CUDA_ON_CPU_HOST(cudaSetDevice)
CUDA_ON_CPU_HOST(cudaGetDeviceCount)
CUDA_ON_CPU_HOST(cudaGetDeviceProperties)
CUDA_ON_CPU_HOST(cudaFuncSetAttribute)
CUDA_ON_CPU_HOST(cudaOccupancyMaxActiveBlocksPerMultiprocessor)
CUDA_ON_CPU_HOST(cudaGetLastError)
CUDA_ON_CPU_HOST(cudaPeekAtLastError)
CUDA_ON_CPU_HOST(cudaStreamCreate)
CUDA_ON_CPU_HOST(cudaStreamDestroy)
CUDA_ON_CPU_HOST(cudaStreamSynchronize)
CUDA_ON_CPU_HOST(cudaEventCreate)
CUDA_ON_CPU_HOST(cudaEventDestroy)
CUDA_ON_CPU_HOST(cudaEventRecord)
CUDA_ON_CPU_HOST(cudaEventSynchronize)
CUDA_ON_CPU_HOST(cudaEventElapsedTime)
inline const char* cudaGetErrorString(cudaError_t) { return ""; }
inline const char* cudaGetErrorName(cudaError_t) { return ""; }
