// Softmax of each row, one block a row; the row lies in dynamic shared memory.
extern "C" __global__ void softmax(const float* x, float* y, int columns) {
    extern __shared__ float row[];
    __shared__ float of_warp[4];
    int t = threadIdx.x;
    float largest = -INFINITY;
    for (int j = t; j < columns; j += 128) {
        row[j] = x[blockIdx.x * columns + j];
        largest = fmaxf(largest, row[j]);
    }
    for (int offset = 16; offset > 0; offset /= 2)
        largest = fmaxf(largest, __shfl_xor_sync(0xffffffff, largest, offset));
    if (t % 32 == 0) of_warp[t / 32] = largest;
    __syncthreads(); // the warps' maxima are there
    largest = fmaxf(fmaxf(of_warp[0], of_warp[1]), fmaxf(of_warp[2], of_warp[3]));
    __syncthreads(); // all have read them
    float sum = 0.0f;
    for (int j = t; j < columns; j += 128) {
        row[j] = __expf(row[j] - largest);
        sum += row[j];
    }
    for (int offset = 16; offset > 0; offset /= 2) sum += __shfl_xor_sync(0xffffffff, sum, offset);
    if (t % 32 == 0) of_warp[t / 32] = sum;
    __syncthreads(); // the warps' sums are there
    sum = of_warp[0] + of_warp[1] + of_warp[2] + of_warp[3];
    for (int j = t; j < columns; j += 128) y[blockIdx.x * columns + j] = row[j] / sum;
}
