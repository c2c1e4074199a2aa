// Sorts 256 numbers of each block in shared memory.
extern "C" __global__ void bitonic_sort(int* values) {
    __shared__ int s[256];
    int t = threadIdx.x;
    s[t] = values[blockIdx.x * 256 + t];
    __syncthreads(); // all are there
    for (int size = 2; size <= 256; size *= 2)
        for (int stride = size / 2; stride > 0; stride /= 2) {
            int other = t ^ stride;
            if (other > t) {
                int a = s[t], b = s[other];
                if ((a > b) == ((t & size) == 0)) s[t] = b, s[other] = a;
            }
            __syncthreads(); // all are exchanged
        }
    values[blockIdx.x * 256 + t] = s[t];
}
