// Each warp transposes an 8 x 4 matrix of its own; no other warp is waited for.
extern "C" __global__ void warp_transpose(const float* x, float* y) {
    __shared__ float own[4][32];
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    for (int round = 0; round < 2; ++round) {
        int at = ((blockIdx.x * 4 + warp) * 2 + round) * 32;
        own[warp][lane] = x[at + lane];
        __syncwarp(); // the warp has written
        y[at + lane] = own[warp][lane % 8 * 4 + lane / 8];
        __syncwarp(); // the warp has read
    }
}
