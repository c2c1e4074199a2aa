// The sum of each block's elements, as a tree in shared memory.
extern "C" __global__ void block_sum(const float* x, float* sums, int n) {
    __shared__ float part[256];
    int t = threadIdx.x, i = blockIdx.x * 256 + t;
    part[t] = i < n ? x[i] : 0.0f;
    __syncthreads(); // every part is there
    for (int s = 128; s > 0; s >>= 1) {
        if (t < s) part[t] += part[t + s];
        __syncthreads(); // this level is done
    }
    if (t == 0) sums[blockIdx.x] = part[0];
}
