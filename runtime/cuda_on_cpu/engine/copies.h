// Asynchronous copies: queued by the thread that asks for them and done when it waits.
//
// A copy that has not arrived leaves NaN and "never written" behind, so that reading before the wait is found.
#pragma once
#include "shadow.h"

namespace cuda_on_cpu {

struct Copy {
    void* to;
    unsigned bytes;
    int line, group;
    char content[16];
};
struct Copies {
    Copy* waiting;
    int count, room;
    int group; // the one that is being filled
};
static Copies copies_of[MAX_THREADS];

static void drop_copies(unsigned thread) { copies_of[thread].count = copies_of[thread].group = 0; }

static void add_copy(Copies& copies, const Copy& copy) {
    if (copies.count == copies.room) {
        copies.room = 2 * copies.room + 8;
        copies.waiting = static_cast<Copy*>(realloc(copies.waiting, copies.room * sizeof(Copy)));
        if (!copies.waiting) abort();
    }
    copies.waiting[copies.count++] = copy;
}

static void copy_async(void* to, const void* from, unsigned bytes, unsigned bytes_read, int line) {
    const unsigned place = place_of(line);
    if ((bytes != 4 && bytes != 8 && bytes != 16) || bytes_read > bytes) {
        report_text(WRONG_OPERAND, place, "an asynchronous copy takes 4, 8 or 16 bytes, not %u", bytes);
        abandon();
        return;
    }
    if (reinterpret_cast<uintptr_t>(to) % bytes || (bytes_read && reinterpret_cast<uintptr_t>(from) % bytes)) {
        report_text(MISALIGNED, place, "an asynchronous copy of %u bytes between addresses that are no multiple of it", bytes);
        abandon();
        return;
    }
    Copies& copies = copies_of[current->number];
    Copy copy = {to, bytes, line, copies.group, {}};
    if (bytes_read) check(from, bytes_read, false, false, place);
    memcpy(copy.content, from, bytes_read);
    check(to, bytes, true, false, place);
    memset(to, 0xff, bytes);
    for (const Region* region : {&static_region, &dynamic_region}) {
        if (!within(*region, static_cast<char*>(to)) || !region->shadow) continue;
        Shadow* shadow = region->shadow + (static_cast<char*>(to) - region->begin) / region->granule;
        for (unsigned granule = 0; granule < bytes / region->granule; ++granule) shadow[granule].writer.interval = 0;
    }
    add_copy(copies, copy);
}

// Do the oldest copies, all but the last `under_way` groups that were committed.
static void wait_copies(int under_way) {
    Copies& copies = copies_of[current->number];
    const int done_before = copies.group - under_way;
    int kept = 0;
    for (int number = 0; number < copies.count; ++number) {
        const Copy copy = copies.waiting[number];
        if (copy.group < done_before) {
            check(copy.to, copy.bytes, true, false, place_of(copy.line));
            memcpy(copy.to, copy.content, copy.bytes);
        } else {
            copies.waiting[kept++] = copy;
        }
    }
    copies.count = kept;
}

} // namespace cuda_on_cpu
