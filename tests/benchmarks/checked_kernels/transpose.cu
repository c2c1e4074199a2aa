// B = A transposed, through a shared tile with a column to spare.
extern "C" __global__ void transpose(const float* A, float* B, int rows, int columns) {
    __shared__ float tile[32][33];
    int x = blockIdx.x * 32 + threadIdx.x, y = blockIdx.y * 32 + threadIdx.y;
    for (int j = 0; j < 32; j += 8)
        if (x < columns && y + j < rows) tile[threadIdx.y + j][threadIdx.x] = A[(y + j) * columns + x];
    __syncthreads(); // the tile is whole
    x = blockIdx.y * 32 + threadIdx.x, y = blockIdx.x * 32 + threadIdx.y;
    for (int j = 0; j < 32; j += 8)
        if (x < rows && y + j < columns) B[(y + j) * rows + x] = tile[threadIdx.x][threadIdx.y + j];
}
