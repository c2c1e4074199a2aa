// Keeps the positive numbers: each warp counts its own with a ballot and reserves room with one addition.
extern "C" __global__ void compact(const int* x, int* kept, int* count, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x, lane = threadIdx.x % 32;
    bool keep = i < n && x[i] > 0;
    unsigned lanes = __ballot_sync(0xffffffff, keep);
    int first = 0;
    if (lane == 0) first = atomicAdd(count, __popc(lanes));
    first = __shfl_sync(0xffffffff, first, 0);
    if (keep) kept[first + __popc(lanes & ((1u << lane) - 1))] = x[i];
}
