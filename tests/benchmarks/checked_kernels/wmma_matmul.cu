// C = A B on Tensor Cores, one 16 x 16 tile of C for each warp; A's tile goes through shared memory.
#include <cuda_fp16.h>
#include <mma.h>
using namespace nvcuda;
extern "C" __global__ void wmma_matmul(const half* A, const half* B, float* C, int n) {
    __shared__ __align__(32) half tile[16 * 24];
    wmma::fragment<wmma::matrix_a, 16, 16, 16, half, wmma::row_major> a;
    wmma::fragment<wmma::matrix_b, 16, 16, 16, half, wmma::row_major> b;
    wmma::fragment<wmma::accumulator, 16, 16, 16, float> c;
    wmma::fill_fragment(c, 0.0f);
    int row = blockIdx.y * 16, column = blockIdx.x * 16;
    for (int k = 0; k < n; k += 16) {
        for (int i = threadIdx.x; i < 256; i += 32) tile[i / 16 * 24 + i % 16] = A[(row + i / 16) * n + k + i % 16];
        __syncwarp(); // the tile is there
        wmma::load_matrix_sync(a, tile, 24);
        wmma::load_matrix_sync(b, B + k * n + column, n);
        wmma::mma_sync(c, a, b, c);
        __syncwarp(); // the tile may be overwritten
    }
    wmma::store_matrix_sync(C + row * n + column, c, n, wmma::mem_row_major);
}
