// C = A B, a 16 x 16 tile of each in shared memory.
#define T 16
extern "C" __global__ void __launch_bounds__(256) tiled_matmul(const float* A, const float* B, float* C, int n) {
    __shared__ float a[T][T], b[T][T];
    int x = threadIdx.x, y = threadIdx.y;
    int row = blockIdx.y * T + y, column = blockIdx.x * T + x;
    float sum = 0.0f;
    for (int k = 0; k < n; k += T) {
        a[y][x] = A[row * n + k + x];
        b[y][x] = B[(k + y) * n + column];
        __syncthreads(); // the tiles are whole
        for (int j = 0; j < T; ++j) sum += a[y][j] * b[j][x];
        __syncthreads(); // the tiles may be overwritten
    }
    C[row * n + column] = sum;
}
