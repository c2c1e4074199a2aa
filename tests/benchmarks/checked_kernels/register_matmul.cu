// C = A B, 64 x 64 results of a block, 4 x 4 of a thread, A transposed in shared memory, float4 everywhere.
#define BM 64
#define BK 8
extern "C" __global__ void __launch_bounds__(256)
register_matmul(const float* __restrict__ A, const float* __restrict__ B, float* __restrict__ C, int n) {
    __shared__ float a[BK * BM];
    __shared__ float b[BK * BM];
    int t = threadIdx.x, x = t % 16 * 4, y = t / 16 * 4;
    const float* from_a = A + (blockIdx.y * BM + t / 2) * n + t % 2 * 4;
    const float* from_b = B + t / 16 * n + blockIdx.x * BM + x;
    float sums[4][4] = {};
    for (int k = 0; k < n; k += BK) {
        if (t < 128) {
            float4 v = *(const float4*)(from_a + k);
            a[(t % 2 * 4 + 0) * BM + t / 2] = v.x;
            a[(t % 2 * 4 + 1) * BM + t / 2] = v.y;
            a[(t % 2 * 4 + 2) * BM + t / 2] = v.z;
            a[(t % 2 * 4 + 3) * BM + t / 2] = v.w;
            *(float4*)&b[t / 16 * BM + x] = *(const float4*)(from_b + k * n);
        }
        __syncthreads(); // the tiles are whole
#pragma unroll
        for (int j = 0; j < BK; ++j) {
            float4 u = *(const float4*)&a[j * BM + y], v = *(const float4*)&b[j * BM + x];
            float left[4] = {u.x, u.y, u.z, u.w}, right[4] = {v.x, v.y, v.z, v.w};
            for (int p = 0; p < 4; ++p)
                for (int q = 0; q < 4; ++q) sums[p][q] += left[p] * right[q];
        }
        __syncthreads(); // the tiles may be overwritten
    }
    for (int p = 0; p < 4; ++p)
        *(float4*)&C[(blockIdx.y * BM + y + p) * n + blockIdx.x * BM + x] =
            make_float4(sums[p][0], sums[p][1], sums[p][2], sums[p][3]);
}
