// Running sums of 256 elements for each block, each step from one shared array into the other.
extern "C" __global__ void scan(const int* x, int* y) {
    __shared__ int part[2][256];
    int t = threadIdx.x, from = 0;
    part[0][t] = x[blockIdx.x * 256 + t];
    __syncthreads(); // every element is there
    for (int step = 1; step < 256; step *= 2) {
        part[1 - from][t] = part[from][t] + (t >= step ? part[from][t - step] : 0);
        from = 1 - from;
        __syncthreads(); // this step is done
    }
    y[blockIdx.x * 256 + t] = part[from][t];
}
