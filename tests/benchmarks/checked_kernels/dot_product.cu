// The product of two vectors of halves, added up in one number.
#include <cuda_fp16.h>
extern "C" __global__ void dot_product(const half* x, const half* y, float* result, int n) {
    float sum = 0.0f;
    const half2 *x2 = (const half2*)x, *y2 = (const half2*)y;
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n / 2; i += gridDim.x * blockDim.x) {
        float2 a = __half22float2(x2[i]), b = __half22float2(y2[i]);
        sum += a.x * b.x + a.y * b.y;
    }
    for (int offset = 16; offset > 0; offset /= 2) sum += __shfl_xor_sync(0xffffffff, sum, offset);
    if (threadIdx.x % 32 == 0) atomicAdd(result, sum);
}
