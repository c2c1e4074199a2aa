// Bounds, races and first reads: every access of an instrumented kernel is compared with what lies in a shadow.
//
// Each granule (1, 2 or 4 bytes) of shared memory and of buffers that are written has a shadow: its last writer and two
// readers, each with thread, barrier interval and clock. Two accesses by different threads, one of them a write, race
// unless a barrier or a __syncwarp lies between them; between blocks there is no order. What is found does not
// depend on the order in which the threads happened to run.
#pragma once
#include "fences.h"
#include "reports.h"

extern "C" {
extern char __start_cuda_shared[] __attribute__((weak, visibility("hidden")));
extern char __stop_cuda_shared[] __attribute__((weak, visibility("hidden")));
extern const unsigned cuda_on_cpu_granule; // of shared memory; the kernels' text says which types it has
}

namespace cuda_on_cpu {

struct Access {
    uint32_t interval, place, clock, thread;
};
static const uint32_t ATOMIC = 1u << 16, NUMBER = ATOMIC - 1;

struct Shadow {
    Access writer, reader[2];
};

struct Region {
    char* begin;
    size_t bytes;
    Shadow* shadow;
    unsigned granule, shift; // bytes told apart, and the logarithm of their number
    int name; // as in CudaOnCpuReport.buffer
};

// The last is the part of the library that can be written: __device__ variables.
static Region static_region, dynamic_region, library_region;
static Region* regions;
static int region_count;
static Region* recent_region;

static inline bool is_shared(const Region& region) { return region.name == -2 || region.name == -3; }

static Shadow* new_shadow(size_t granules) {
    const size_t bytes = (granules + 1) * sizeof(Shadow);
    void* area = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return area == MAP_FAILED ? nullptr : static_cast<Shadow*>(area);
}

// Whether an access of this launch is known to have ended before what the current thread does now.
static inline bool ordered(const Access& access, const Region& region) {
    if (access.interval < launch_start) return true;
    const unsigned number = access.thread & NUMBER;
    if (access.interval < block_start) // another block, which has shared memory of its own
        return is_shared(region) || (acquired_count && published(access.interval, number, access.clock));
    if (access.interval < interval || number == current->number) return true;
    if (number / WARP != current->warp) return false;
    return current->known[number % WARP] >= access.clock;
}

static size_t block_of(uint32_t at) {
    size_t low = 0, high = blocks_started;
    while (high - low > 1) {
        const size_t middle = (low + high) / 2;
        (first_interval[middle] <= at ? low : high) = middle;
    }
    return low;
}

__attribute__((noinline, cold)) static void fill_in(CudaOnCpuReport* report, const Region& region, const char* address, unsigned size) {
    report->buffer = region.name;
    report->offset = address - (region.name == -4 ? __ehdr_start : region.begin);
    report->size = size;
}

__attribute__((noinline, cold)) static void race(const Region& region, const char* address, unsigned size, bool write, unsigned place,
                 const Access& other, bool other_write) {
    CudaOnCpuReport* report = new_report(is_shared(region) ? SHARED_RACE : GLOBAL_RACE, place, write, other.place);
    if (!report) return;
    fill_in(report, region, address, size);
    const size_t block = block_of(other.interval);
    const unsigned x = launch->grid[0], y = launch->grid[1];
    const Index where = {unsigned(block % x), unsigned(block / x % y), unsigned(block / x / y)};
    set_place(report->other, other.place, where, threads[other.thread & NUMBER].index, other_write);
}

static inline void remember_reader(const Region& region, Shadow& shadow, const Access& now) {
    Access &first = shadow.reader[0], &second = shadow.reader[1];
    if (ordered(first, region)) {
        first = now;
    } else if (ordered(second, region)) {
        second = now;
    } else {
        // Two readers that no later writer can both be ordered with: of different blocks, else of different warps.
        const bool same_block = first.interval >= block_start;
        const bool alike = (second.interval >= block_start) == same_block
                           && (!same_block || (first.thread & NUMBER) / WARP == (second.thread & NUMBER) / WARP);
        const bool differs = !same_block || (first.thread & NUMBER) / WARP != current->warp;
        if (alike && differs) second = now;
    }
}

// The common case of a read: the writer came before the last barrier, and any later writer would race with one of the
// two readers that are known, or this thread is one of them.
static inline bool nothing_new(const Region& region, const Shadow& shadow) {
    const Access &first = shadow.reader[0], &second = shadow.reader[1];
    if (first.interval != interval || shadow.writer.interval >= interval) return false;
    if (shadow.writer.interval < block_start && (is_shared(region) || shadow.writer.interval >= launch_start)) return false;
    const unsigned me = current->number;
    if (first.thread == me && first.clock == current->known[me % WARP]) return true;
    if (second.interval != interval) return false;
    if ((first.thread ^ second.thread) >= WARP) return true;
    if ((first.thread ^ me) >= WARP) return false; // one of another warp says more
    return (second.thread == me && second.clock == current->known[me % WARP])
           || (current->known[first.thread % WARP] < first.clock && current->known[second.thread % WARP] < second.clock);
}

static inline void check_granule(const Region& region, size_t number, const char* address, unsigned size, bool write,
                                 bool atomic, unsigned place) {
    Shadow& shadow = region.shadow[number];
    if (!write && nothing_new(region, shadow)) return;
    const Access now = {interval, place, current->known[current->lane],
                        current->number | (atomic ? ATOMIC : 0)};
    if (!ordered(shadow.writer, region) && !(atomic && shadow.writer.thread & ATOMIC))
        race(region, address, size, write, place, shadow.writer, true);
    if (is_shared(region) && shadow.writer.interval < block_start && (!write || atomic)) {
        if (CudaOnCpuReport* report = new_report(UNINITIALISED_SHARED, place, false)) fill_in(report, region, address, size);
    }
    if (!write) {
        remember_reader(region, shadow, now);
        return;
    }
    for (const Access& reader : shadow.reader)
        if (!ordered(reader, region) && !(atomic && reader.thread & ATOMIC)) race(region, address, size, true, place, reader, false);
    shadow.writer = now;
}

static void check_shadow(const Region& region, const char* address, unsigned size, bool write, bool atomic,
                         unsigned place) {
    const size_t first = size_t(address - region.begin) >> region.shift;
    const size_t last = size_t(address - region.begin + size - 1) >> region.shift;
    for (size_t number = first; number <= last; ++number)
        check_granule(region, number, address, size, write, atomic, place);
}

static void check_initialised(const Region& region, const char* address, unsigned size, bool write, unsigned place) {
    unsigned char* initialised = launch->buffer[region.name].initialised;
    if (!initialised) return;
    const size_t first = size_t(address - region.begin) >> region.shift;
    const size_t last = size_t(address - region.begin + size - 1) >> region.shift;
    for (size_t number = first; number <= last; ++number) {
        if (write) {
            initialised[number] = 1;
        } else if (!initialised[number]) {
            if (CudaOnCpuReport* report = new_report(UNINITIALISED_GLOBAL, place, false))
                fill_in(report, region, address, size);
            return;
        }
    }
}

__attribute__((noinline, cold)) static void out_of_bounds(const char* address, unsigned size, bool write, unsigned place) {
    CudaOnCpuReport* report = new_report(OUT_OF_BOUNDS, place, write);
    if (report) {
        const Region* nearest = nullptr;
        size_t distance = size_t(1) << 36;
        auto consider = [&](const Region& region) {
            const size_t off = address < region.begin ? region.begin - address : address - (region.begin + region.bytes);
            if (region.bytes && off < distance) nearest = &region, distance = off;
        };
        consider(static_region);
        consider(dynamic_region);
        for (int number = 0; number < region_count; ++number) consider(regions[number]);
        report->size = size;
        if (nearest) fill_in(report, *nearest, address, size);
        const char* low = stacks();
        if (address >= low && address < low + MAX_THREADS * STACK)
            snprintf(report->text, sizeof report->text, "a local variable of another thread");
    }
    abandon();
}

static inline bool within(const Region& region, const char* address) {
    return static_cast<size_t>(address - region.begin) < region.bytes;
}

bool belongs_to_library(const char* address, unsigned size, bool write);

// The common case: a read of shared memory that tells nothing new.
static inline bool known_read(const void* pointer, unsigned size) {
    if (!current) return true;
    const size_t offset = static_cast<const char*>(pointer) - static_region.begin;
    if (offset >= static_region.bytes || size != static_region.granule || offset % size) return false;
    return nothing_new(static_region, static_region.shadow[offset >> static_region.shift]);
}

// Compare one access of the current thread with all that is known.
static void check(const void* pointer, unsigned size, bool write, bool atomic, unsigned place) {
    if (!current) return;
    const char* address = static_cast<const char*>(pointer);
    if (static_cast<size_t>(address - current->stack) < STACK) return;
    const Region* region = nullptr;
    if (within(static_region, address)) region = &static_region;
    else if (within(dynamic_region, address)) region = &dynamic_region;
    else if (recent_region && within(*recent_region, address)) region = recent_region;
    else
        for (int number = 0; number < region_count && !region; ++number)
            if (within(regions[number], address)) region = recent_region = &regions[number];
    if (!region) {
        if (!belongs_to_library(address, size, write)) {
            out_of_bounds(address, size, write, place);
            return;
        }
        if (!within(library_region, address)) return;
        region = &library_region;
    }
    if (address + size > region->begin + region->bytes) {
        out_of_bounds(address, size, write, place);
        return;
    }
    if (region->name >= 0) {
        if (atomic) check_initialised(*region, address, size, false, place);
        check_initialised(*region, address, size, write, place);
        if (launch->buffer[region->name].constant) {
            if (!write) return;
            if (CudaOnCpuReport* report = new_report(WRITE_TO_CONSTANT, place, true))
                fill_in(report, *region, address, size);
        }
    }
    if (atomic) atomic_on(address);
    if (region->shadow) check_shadow(*region, address, size, write, atomic, place);
}

} // namespace cuda_on_cpu
