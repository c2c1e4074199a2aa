// Runs the threads of a block one after the other until all wait, and lets them go on together.
#pragma once
#include "copies.h"
#include "shadow.h"
#include "warps.h"

namespace cuda_on_cpu {

static void thread_entry() {
    kernel->invoke(launch->arguments);
    Thread* ended = current;
    ended->state = EXITED;
    drop_copies(ended->number);
    complete_all(ended->warp);
    let_others_run();
    abort();
}

static inline void run(Thread& thread) {
    current = &thread;
    cuda_on_cpu_switch(&scheduler_stack, thread.stack_pointer);
    current = nullptr;
}

// Run the lanes of a warp until none can go on; whether any has.
static bool run_warp(unsigned warp) {
    const unsigned first = warp * WARP, last = first + WARP < thread_count ? first + WARP : thread_count;
    bool any = false;
    for (bool progress = true; progress && !abandoned;) {
        progress = false;
        for (unsigned number = first; number < last && !abandoned; ++number) {
            if (threads[number].state != READY) continue;
            run(threads[number]);
            progress = any = true;
        }
    }
    return any;
}

static unsigned count(State state) {
    unsigned found = 0;
    for (unsigned number = 0; number < thread_count; ++number) found += threads[number].state == state;
    return found;
}

static const Thread* first_in(State state) {
    for (unsigned number = 0; number < thread_count; ++number)
        if (threads[number].state == state) return &threads[number];
    return nullptr;
}

// Report why the threads of the block that wait cannot go on; whether they can.
static bool barrier_is_whole() {
    Thread* waiting = const_cast<Thread*>(first_in(AT_BARRIER));
    if (const Thread* lane = first_in(IN_WARP_OPERATION)) {
        current = const_cast<Thread*>(lane);
        report_waiting_lane(*lane);
        current = nullptr;
        return false;
    }
    const Thread* ended = first_in(EXITED);
    const Thread* elsewhere = nullptr;
    for (unsigned number = 0; number < thread_count && !elsewhere; ++number)
        if (threads[number].state == AT_BARRIER && threads[number].line != waiting->line) elsewhere = &threads[number];
    if (!ended && !elsewhere) return true;
    current = waiting;
    const unsigned place = place_of(waiting->line);
    if (elsewhere)
        report_text(DIVERGENT_BARRIER, place, "thread (%u,%u,%u) waits at another barrier, of line %d",
                    elsewhere->index.x, elsewhere->index.y, elsewhere->index.z, elsewhere->line);
    else
        report_text(DIVERGENT_BARRIER, place, "%u of %u threads have ended and never come, first (%u,%u,%u)",
                    count(EXITED), thread_count, ended->index.x, ended->index.y, ended->index.z);
    current = nullptr;
    return false;
}

static void release_barrier() {
    barrier_count = 0;
    for (unsigned number = 0; number < thread_count; ++number) barrier_count += threads[number].predicate != 0;
    barrier_all = barrier_count == int(thread_count), barrier_any = barrier_count > 0;
    for (unsigned number = 0; number < thread_count; ++number) threads[number].state = READY;
    ++interval;
}

static void start_threads() {
    char* area = stacks(thread_count);
    for (unsigned number = 0; number < thread_count; ++number) {
        Thread& thread = threads[number];
        const unsigned x = launch->block[0], y = launch->block[1];
        thread.number = number, thread.lane = number % WARP, thread.warp = number / WARP;
        thread.index = {number % x, number / x % y, number / x / y};
        thread.known = clocks[thread.warp][thread.lane];
        thread.stack = area + number * STACK;
        thread.stack_pointer = prepared(thread.stack, number, thread_entry);
        thread.state = READY;
    }
    memset(clocks, 0, warp_count * sizeof clocks[0]);
    for (unsigned warp = 0; warp < warp_count; ++warp)
        for (unsigned lane = 0; lane < WARP; ++lane) clocks[warp][lane][lane] = 1;
}

// The arrays of many kernels together are poisoned once a launch only; the shadows know of each block in any case.
static const size_t MOST_POISONED = 1 << 16;

static void run_block() {
    // What was never written reads as NaN.
    if (static_region.bytes && (blocks_started == 0 || static_region.bytes <= MOST_POISONED))
        memset(static_region.begin, 0xff, static_region.bytes);
    memset(dynamic_shared(), 0xff, launch->shared_bytes);
    first_interval[blocks_started++] = block_start = ++interval;
    abandoned = false;
    start_block_of_fences(blocks_started == 1);
    start_threads();
    while (!abandoned) {
        bool progress = false;
        for (unsigned warp = 0; warp < warp_count && !abandoned; ++warp) progress |= run_warp(warp);
        if (abandoned || count(EXITED) == thread_count) break;
        if (progress) continue; // once more, so that all wait when nothing moves
        if (!barrier_is_whole()) break;
        release_barrier();
    }
    for (unsigned number = 0; number < thread_count; ++number) drop_copies(number);
    ++interval;
}

} // namespace cuda_on_cpu
