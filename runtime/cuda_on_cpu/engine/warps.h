// Operations of a warp: each lane posts its operands, and the last lane to arrive computes for all.
#pragma once
#include "reports.h"
#include "../include/cuda_on_cpu/operations.h"

namespace cuda_on_cpu {

static const char* operation_name(int operation) {
    static const char* const names[] = {
        "__syncwarp", "__shfl_sync", "__shfl_up_sync", "__shfl_down_sync", "__shfl_xor_sync", "__any_sync",
        "__all_sync", "__ballot_sync", "__match_any_sync", "__match_all_sync", "__reduce_add_sync",
        "__reduce_min_sync", "__reduce_max_sync", "__reduce_and_sync", "__reduce_or_sync", "__reduce_xor_sync",
        "a matrix operation",
    };
    return names[operation];
}

static inline bool waits(const Thread& thread) { return thread.state == IN_WARP_OPERATION; }

// The lane that a shuffle reads from; itself where the source would lie outside its group of `width` lanes.
static int source_lane(const Posted& posted, int lane) {
    const int width = posted.width, first = lane / width * width;
    int source = lane;
    if (posted.operation == SHFL) source = first + (posted.lane & (width - 1));
    if (posted.operation == SHFL_UP) source = lane - posted.lane;
    if (posted.operation == SHFL_DOWN) source = lane + posted.lane;
    if (posted.operation == SHFL_XOR) source = lane ^ posted.lane;
    if (posted.operation == SHFL_XOR) return source < first + width ? source : lane;
    return source < first || source >= first + width ? lane : source;
}

static void shuffle(Thread* lanes, unsigned taking_part, int lane) {
    Posted& posted = lanes[lane].posted;
    const int source = source_lane(posted, lane);
    posted.result = posted.value;
    if (taking_part >> source & 1) {
        posted.result = lanes[source].posted.value;
    } else {
        posted.result = 0x7fc000007fc00000u; // whatever is read there is of no use: NaN
        if (posted.width == 32 || lane / posted.width == source / posted.width) {
            Thread* before = current;
            current = &lanes[lane];
            report_text(WRONG_MASK, place_of(posted.line), "%s with mask 0x%08x reads from lane %d, which %s",
                        operation_name(posted.operation), posted.mask, source,
                        posted.mask >> source & 1 ? "has ended or does not exist" : "the mask does not name");
            current = before;
        }
    }
}

static uint64_t reduce(Thread* lanes, unsigned taking_part, int operation) {
    const bool is_signed = lanes[__builtin_ctz(taking_part)].posted.width;
    uint64_t result = 0;
    bool first = true;
    for (unsigned rest = taking_part; rest; rest &= rest - 1) {
        const uint64_t value = lanes[__builtin_ctz(rest)].posted.value;
        const bool less = is_signed ? int64_t(value) < int64_t(result) : value < result;
        if (first) result = value;
        else if (operation == REDUCE_ADD) result += value;
        else if (operation == REDUCE_MIN) result = less ? value : result;
        else if (operation == REDUCE_MAX) result = less ? result : value;
        else if (operation == REDUCE_AND) result &= value;
        else if (operation == REDUCE_OR) result |= value;
        else result ^= value;
        first = false;
    }
    return result;
}

static uint64_t vote(Thread* lanes, unsigned taking_part, int operation) {
    unsigned ballot = 0;
    for (unsigned rest = taking_part; rest; rest &= rest - 1) {
        const int lane = __builtin_ctz(rest);
        ballot |= unsigned(lanes[lane].posted.value != 0) << lane;
    }
    if (operation == ANY) return ballot != 0;
    return operation == ALL ? ballot == taking_part : ballot;
}

static void match(Thread* lanes, unsigned taking_part) {
    for (unsigned rest = taking_part; rest; rest &= rest - 1) {
        Posted& posted = lanes[__builtin_ctz(rest)].posted;
        unsigned equal = 0;
        for (unsigned others = taking_part; others; others &= others - 1) {
            const int other = __builtin_ctz(others);
            equal |= unsigned(lanes[other].posted.value == posted.value) << other;
        }
        posted.result = posted.operation == MATCH_ANY || equal == taking_part ? equal : 0;
    }
}

// What each lane of the group knows of the others' past after a synchronisation.
static void join_clocks(unsigned warp, unsigned taking_part) {
    uint32_t joined[WARP] = {};
    for (unsigned rest = taking_part; rest; rest &= rest - 1) {
        const uint32_t* of = clocks[warp][__builtin_ctz(rest)];
        for (unsigned lane = 0; lane < WARP; ++lane) joined[lane] = of[lane] > joined[lane] ? of[lane] : joined[lane];
    }
    for (unsigned rest = taking_part; rest; rest &= rest - 1) {
        const int lane = __builtin_ctz(rest);
        for (unsigned other = 0; other < WARP; ++other) clocks[warp][lane][other] = joined[other];
        ++clocks[warp][lane][lane];
    }
}

static void compute(Thread* lanes, unsigned warp, unsigned taking_part) {
    const Posted& posted = lanes[__builtin_ctz(taking_part)].posted;
    const int operation = posted.operation;
    uint64_t common = 0;
    if (operation == SYNC) join_clocks(warp, taking_part);
    else if (operation >= SHFL && operation <= SHFL_XOR)
        for (unsigned rest = taking_part; rest; rest &= rest - 1) shuffle(lanes, taking_part, __builtin_ctz(rest));
    else if (operation >= ANY && operation <= BALLOT) common = vote(lanes, taking_part, operation);
    else if (operation == MATCH_ANY || operation == MATCH_ALL) match(lanes, taking_part);
    else if (operation >= REDUCE_ADD && operation <= REDUCE_XOR) common = reduce(lanes, taking_part, operation);
    else if (operation == CALL) {
        void* operands[WARP] = {};
        for (unsigned lane = 0; lane < WARP; ++lane)
            if (taking_part >> lane & 1) operands[lane] = reinterpret_cast<void*>(lanes[lane].posted.value);
        posted.call(operands, taking_part);
    }
    const bool to_all = (operation >= ANY && operation <= BALLOT) || (operation >= REDUCE_ADD && operation <= REDUCE_XOR);
    for (unsigned rest = taking_part; rest; rest &= rest - 1) {
        Thread& lane = lanes[__builtin_ctz(rest)];
        if (to_all) lane.posted.result = common;
        lane.state = READY;
    }
}

static bool same_operation(const Posted& one, const Posted& other) {
    return one.operation == other.operation && one.mask == other.mask
           && (one.operation == SYNC || one.line == other.line);
}

// Compute the operation that `lane` waits in when all lanes have come that its mask names and that still run.
static bool complete(unsigned warp, int lane) {
    Thread* lanes = threads + warp * WARP;
    const Posted& posted = lanes[lane].posted;
    unsigned taking_part = 0;
    for (unsigned rest = posted.mask & lanes_of(warp); rest; rest &= rest - 1) {
        const int other = __builtin_ctz(rest);
        if (lanes[other].state == EXITED) continue;
        if (!waits(lanes[other]) || !same_operation(lanes[other].posted, posted)) return false;
        taking_part |= 1u << other;
    }
    compute(lanes, warp, taking_part);
    return true;
}

// A lane has ended: those that waited for it may go on.
static void complete_all(unsigned warp) {
    for (unsigned lane = 0; lane < WARP && warp * WARP + lane < thread_count; ++lane)
        if (waits(threads[warp * WARP + lane])) complete(warp, lane);
}

// Why a lane still waits: the first lane named by its mask that is somewhere else.
static void report_waiting_lane(const Thread& thread) {
    const Posted& posted = thread.posted;
    const char* name = operation_name(posted.operation);
    Thread* lanes = threads + thread.warp * WARP;
    for (unsigned rest = posted.mask & lanes_of(thread.warp); rest; rest &= rest - 1) {
        const Thread& other = lanes[__builtin_ctz(rest)];
        const unsigned place = place_of(posted.line);
        if (other.state == AT_BARRIER) {
            report_text(WRONG_MASK, place, "%s with mask 0x%08x waits for lane %u, which waits at the barrier of line %d",
                        name, posted.mask, other.lane, other.line);
        } else if (waits(other) && other.posted.mask != posted.mask) {
            report_text(WRONG_MASK, place, "%s with mask 0x%08x meets lane %u in %s with mask 0x%08x of line %d", name,
                        posted.mask, other.lane, operation_name(other.posted.operation), other.posted.mask,
                        other.posted.line);
        } else if (waits(other) && !same_operation(posted, other.posted)) {
            report_text(WRONG_MASK, place, "%s with mask 0x%08x waits for lane %u, which waits in %s of line %d", name,
                        posted.mask, other.lane, operation_name(other.posted.operation), other.posted.line);
        } else {
            continue;
        }
        return;
    }
}

} // namespace cuda_on_cpu
