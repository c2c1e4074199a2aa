// The state of the launch that is running: its threads, its warps, its time.
#pragma once
#include "fibers.h"
#include "interface.h"
#include <initializer_list>
#include <stdint.h>

namespace cuda_on_cpu {

struct Index {
    unsigned x, y, z;
};

enum State : unsigned char { READY, AT_BARRIER, IN_WARP_OPERATION, EXITED };

// What a lane brings to an operation of its warp.
struct Posted {
    int operation, line;
    unsigned mask;
    uint64_t value;   // a shuffled value or a predicate; or a pointer for `call`
    int lane, width;  // of a shuffle
    uint64_t result;
    void (*call)(void** operands, unsigned mask); // computes for all lanes at once
};

struct Thread {
    void* stack_pointer;
    char* stack;
    const uint32_t* known; // its row of `clocks`
    Index index;
    unsigned number, lane, warp;
    State state;
    int line;      // of the barrier it waits at
    int predicate; // given to the barrier
    Posted posted;
};

static const unsigned MAX_THREADS = 1024, WARP = 32;
static const size_t MAX_SHARED = 227 * 1024;

static Thread threads[MAX_THREADS];
static unsigned thread_count, warp_count;
static Thread* current = nullptr;
static void* scheduler_stack;
static bool abandoned; // the block goes no further after an error

static const CudaOnCpuLaunch* launch;
static const CudaOnCpuKernel* kernel;
static Index block_index;

// Barrier intervals of all blocks of all launches have one counter, so that what lies in a shadow needs no clearing.
static uint32_t interval = 1, block_start = 1, launch_start = 1;
static uint32_t* first_interval; // of each block of this launch, to tell the block of a past interval
static size_t blocks_started;

// clocks[w][i][j]: up to which of its own clock's values lane i knows what lane j of warp w did. Own clocks are [i][i].
static uint32_t clocks[MAX_THREADS / WARP][WARP][WARP];
// A thread that has been there since the last barrier: barrier results.
static int barrier_count, barrier_all, barrier_any;

// Dynamic shared memory, between pages that may not be touched.
static char* dynamic_shared() {
    static char* area = nullptr;
    if (!area) {
        const size_t gap = 1 << 20;
        void* found = mmap(nullptr, MAX_SHARED + 2 * gap, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (found == MAP_FAILED) abort();
        area = static_cast<char*>(found) + gap;
        mprotect(area, MAX_SHARED, PROT_READ | PROT_WRITE);
    }
    return area;
}

static inline unsigned lanes_of(unsigned warp) {
    const unsigned left = thread_count - warp * WARP;
    return left >= WARP ? ~0u : (1u << left) - 1;
}

// Give the core to the scheduler until it comes back to this thread.
static inline void let_others_run() { cuda_on_cpu_switch(&current->stack_pointer, scheduler_stack); }

} // namespace cuda_on_cpu
