// What one block may know of another: a fence and then an atomic operation on a word, seen by a later one on that word.
//
// Blocks run one after the other here, so a later atomic operation on a word reads what the earlier ones left. When the
// earlier thread had passed a __threadfence(), what it knew then is before what the later block does from now on: its
// own writes, and those of its block up to the last barrier. Kernels whose last block adds up the others' results rest
// on this.
#pragma once
#include "state.h"

namespace cuda_on_cpu {

struct Release {
    const void* word;
    // The block's first interval; the fence's interval, the thread that passed it, and that thread's clock.
    uint32_t block, interval, thread, clock;
};

static Release* releases;
static int release_count, release_room;
static int acquired_count; // of the releases, how many there were when the running block last did such an operation
static const void* acquired_word;
static uint32_t fences[MAX_THREADS], fence_clocks[MAX_THREADS]; // the interval and clock of each thread's last fence

static void fence() {
    uint32_t& own = clocks[current->warp][current->lane][current->lane];
    fences[current->number] = interval;
    fence_clocks[current->number] = own++; // what the thread does from now on is not before the fence
}

// The running thread's atomic operation on a word: it learns what was released there, and releases what it knows.
static void atomic_on(const void* word) {
    acquired_word = word, acquired_count = release_count;
    const uint32_t fenced = fences[current->number];
    if (fenced < block_start) return;
    if (release_count == release_room) {
        release_room = 2 * release_room + 64;
        releases = static_cast<Release*>(realloc(releases, release_room * sizeof(Release)));
        if (!releases) abort();
    }
    releases[release_count++] = {word, block_start, fenced, current->number, fence_clocks[current->number]};
}

static void start_block_of_fences(bool first) {
    acquired_count = 0, acquired_word = nullptr;
    if (first) release_count = 0;
}

// Whether an access of another block, of a thread in an interval at its clock, is known to the running block.
static bool published(uint32_t at, unsigned thread, uint32_t clock) {
    for (int number = 0; number < acquired_count; ++number) {
        const Release& release = releases[number];
        if (release.word != acquired_word || at < release.block) continue;
        if (at < release.interval) return true;
        if (at == release.interval && thread == release.thread && clock <= release.clock) return true;
    }
    return false;
}

} // namespace cuda_on_cpu
