// What a kernel's text and the compiler's instrumentation call.
#pragma once
#include "scheduler.h"

namespace cuda_on_cpu {
// The opening of every record that the undefined-behaviour instrumentation passes.
struct SourcePlace {
    const char* file;
    unsigned line, column;
};
static unsigned place_in(const void* record) { return place_of(int(static_cast<const SourcePlace*>(record)->line)); }
} // namespace cuda_on_cpu

using namespace cuda_on_cpu;

extern "C" {

struct CudaOnCpuIndex {
    unsigned x, y, z;
};
CudaOnCpuIndex cuda_on_cpu_thread(void) { return {current->index.x, current->index.y, current->index.z}; }
CudaOnCpuIndex cuda_on_cpu_block(void) { return {block_index.x, block_index.y, block_index.z}; }
CudaOnCpuIndex cuda_on_cpu_block_size(void) { return {launch->block[0], launch->block[1], launch->block[2]}; }
CudaOnCpuIndex cuda_on_cpu_grid_size(void) { return {launch->grid[0], launch->grid[1], launch->grid[2]}; }

int cuda_on_cpu_barrier(int line, int predicate, int kind) {
    current->line = line, current->predicate = predicate;
    current->state = AT_BARRIER;
    let_others_run();
    return kind == 1 ? barrier_count : kind == 2 ? barrier_all : barrier_any;
}

static uint64_t post(const Posted& posted) {
    if (!(posted.mask >> current->lane & 1)) {
        report_text(WRONG_MASK, place_of(posted.line), "%s with mask 0x%08x is called by lane %u, which it does not name",
                    operation_name(posted.operation), posted.mask, current->lane);
        abandon();
    }
    Thread* thread = current;
    thread->posted = posted;
    thread->state = IN_WARP_OPERATION;
    if (!complete(thread->warp, thread->lane)) let_others_run();
    return thread->posted.result;
}

uint64_t cuda_on_cpu_warp(int operation, unsigned mask, uint64_t value, int lane, int width, int line) {
    const bool shuffles = operation >= SHFL && operation <= SHFL_XOR;
    if (shuffles && (width < 1 || width > 32 || (width & (width - 1)))) {
        report_text(WRONG_OPERAND, place_of(line), "the width of a shuffle must be a power of two up to 32, got %d", width);
        abandon();
    }
    return post({operation, line, mask, value, lane, width, 0, nullptr});
}

void cuda_on_cpu_call(void (*call)(void**, unsigned), void* operand, unsigned mask, int line) {
    if ((mask & lanes_of(current->warp)) != ~0u) {
        report_text(WRONG_MASK, place_of(line), "a matrix operation needs all 32 lanes of the warp");
        abandon();
    }
    post({CALL, line, mask, reinterpret_cast<uint64_t>(operand), 0, 0, 0, call});
}

void cuda_on_cpu_access(const void* address, unsigned size, int kind, int line) {
    check(address, size, kind != 0, kind == 2, place_of(line));
}

void cuda_on_cpu_fence(void) { fence(); }

void cuda_on_cpu_wrong(int kind, int line, const char* text) {
    report_text(kind, place_of(line), "%s", text);
    abandon();
}

void cuda_on_cpu_copy_async(void* to, const void* from, unsigned bytes, unsigned bytes_read, int line) {
    copy_async(to, from, bytes, bytes_read, line);
}
void cuda_on_cpu_commit_copies(void) { ++copies_of[current->number].group; }
void cuda_on_cpu_wait_copies(int groups_under_way) { wait_copies(groups_under_way); }
void cuda_on_cpu_yield(void) { let_others_run(); }
void* cuda_on_cpu_dynamic_shared(void) { return dynamic_shared(); }

// What assert() calls.
__attribute__((noreturn)) void __assert_fail(const char* condition, const char*, unsigned line, const char*) noexcept(true) {
    if (current) {
        report_text(ASSERTION, place_of(int(line)), "`%s` does not hold", condition);
        abandon();
    }
    abort();
}

#define PLACE place_of(__builtin_return_address(0))
#define READ_AND_WRITE(size)                                                                               \
    void __tsan_read##size(void* address) {                                                                \
        if (!known_read(address, size)) check(address, size, false, false, PLACE);                         \
    }                                                                                                      \
    void __tsan_write##size(void* address) { check(address, size, true, false, PLACE); }                  \
    void __tsan_unaligned_read##size(void* address) { check(address, size, false, false, PLACE); }        \
    void __tsan_unaligned_write##size(void* address) { check(address, size, true, false, PLACE); }        \
    void __tsan_volatile_read##size(void* address) { check(address, size, false, false, PLACE); }         \
    void __tsan_volatile_write##size(void* address) { check(address, size, true, false, PLACE); }
READ_AND_WRITE(1)
READ_AND_WRITE(2)
READ_AND_WRITE(4)
READ_AND_WRITE(8)
READ_AND_WRITE(16)

void __tsan_read_range(void* address, unsigned long size) { check(address, size, false, false, PLACE); }
void __tsan_write_range(void* address, unsigned long size) { check(address, size, true, false, PLACE); }
void __tsan_vptr_update(void**, void*) {}
void __tsan_vptr_read(void**) {}
void __tsan_init(void) {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit(void) {}
void* __tsan_memcpy(void* to, const void* from, unsigned long size) {
    if (size) check(from, size, false, false, PLACE), check(to, size, true, false, PLACE);
    return memcpy(to, from, size);
}
void* __tsan_memmove(void* to, const void* from, unsigned long size) {
    if (size) check(from, size, false, false, PLACE), check(to, size, true, false, PLACE);
    return memmove(to, from, size);
}
void* __tsan_memset(void* to, int byte, unsigned long size) {
    if (size) check(to, size, true, false, PLACE);
    return memset(to, byte, size);
}

#define ARITHMETIC(handler, text)                                                                          \
    void __ubsan_handle_##handler(void* record, void*, void*) {                                            \
        if (current) report_text(UNDEFINED_ARITHMETIC, place_in(record), text);                            \
    }
ARITHMETIC(add_overflow, "a signed sum overflows")
ARITHMETIC(sub_overflow, "a signed difference overflows")
ARITHMETIC(mul_overflow, "a signed product overflows")
ARITHMETIC(negate_overflow, "a negation overflows")
ARITHMETIC(shift_out_of_bounds, "a shift by a negative number or by as many bits as there are")

void __ubsan_handle_divrem_overflow(void* record, void*, void*) {
    if (!current) return;
    report_text(UNDEFINED_ARITHMETIC, place_in(record), "a division by zero, or one that overflows");
    abandon(); // the processor would end the process
}

void __ubsan_handle_out_of_bounds(void* record, void* index) {
    if (!current) return;
    report_text(OUT_OF_BOUNDS, place_in(record), "index %lld of an array", static_cast<long long>(reinterpret_cast<intptr_t>(index)));
    abandon();
}

void __ubsan_handle_type_mismatch_v1(void* record, void* pointer) {
    if (!current) return;
    const auto log_alignment = *(static_cast<const unsigned char*>(record) + sizeof(SourcePlace) + sizeof(void*));
    const unsigned alignment = 1u << log_alignment;
    if (!pointer) report_text(OUT_OF_BOUNDS, place_in(record), "a null pointer");
    else if (reinterpret_cast<uintptr_t>(pointer) % alignment)
        report_text(MISALIGNED, place_in(record), "an access that needs an address that is a multiple of %u, got one %u past it",
                    alignment, unsigned(reinterpret_cast<uintptr_t>(pointer) % alignment));
    else return;
    abandon();
}
}
