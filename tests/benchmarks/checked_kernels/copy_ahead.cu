// Sums of a tile's mirrored elements: the next tile is copied while this one is read.
#include <cuda_pipeline.h>
extern "C" __global__ void copy_ahead(const float* x, float* y, int tiles) {
    __shared__ __align__(16) float tile[2][256];
    int t = threadIdx.x;
    const float* from = x + blockIdx.x * tiles * 256;
    float sum = 0.0f;
    __pipeline_memcpy_async(&tile[0][4 * t], &from[4 * t], 16);
    __pipeline_commit();
    for (int k = 0; k < tiles; ++k) {
        if (k + 1 < tiles) __pipeline_memcpy_async(&tile[(k + 1) % 2][4 * t], &from[(k + 1) * 256 + 4 * t], 16);
        __pipeline_commit();
        __pipeline_wait_prior(1); // this thread's part of tile k has come
        __syncthreads(); // the others' parts too
        for (int j = 0; j < 4; ++j) sum += tile[k % 2][255 - (4 * t + j)];
        __syncthreads(); // the tile may be overwritten
    }
    y[blockIdx.x * 64 + t] = sum;
}
