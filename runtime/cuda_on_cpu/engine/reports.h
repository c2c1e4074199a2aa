// Collects reports: one for each kind and place, with how often it came.
#pragma once
#include "state.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

extern "C" const char __ehdr_start[] __attribute__((visibility("hidden")));

namespace cuda_on_cpu {

// In memory shared with the parent process.
static int* report_count;
static CudaOnCpuReport* reports;

// A place in the text: an offset in the library, or a line with the highest bit set.
static const unsigned LINE = 0x80000000u;

static inline unsigned place_of(const void* pc) {
    return static_cast<unsigned>(static_cast<const char*>(pc) - __ehdr_start - 1);
}
static inline unsigned place_of(int line) { return LINE | static_cast<unsigned>(line); }

static void set_place(CudaOnCpuPlace& to, unsigned place, const Index& block, const Index& thread, bool write) {
    to.line = place & LINE ? static_cast<int>(place & ~LINE) : 0;
    to.pc = place & LINE ? 0 : place;
    to.block[0] = block.x, to.block[1] = block.y, to.block[2] = block.z;
    to.thread[0] = thread.x, to.thread[1] = thread.y, to.thread[2] = thread.z;
    to.write = write;
}

__attribute__((noinline, cold)) static CudaOnCpuReport* new_report(int kind, unsigned place, bool write, unsigned other_place = 0) {
    const int line = place & LINE ? static_cast<int>(place & ~LINE) : 0;
    const unsigned pc = place & LINE ? 0 : place;
    for (int number = 0; number < *report_count; ++number) {
        CudaOnCpuReport& known = reports[number];
        const unsigned known_other = known.other.line ? LINE | known.other.line : known.other.pc;
        if (known.kind == kind && known.here.line == line && known.here.pc == pc && known_other == other_place) {
            ++known.times;
            return nullptr;
        }
    }
    if (*report_count >= launch->capacity) return nullptr;
    CudaOnCpuReport& report = reports[(*report_count)++];
    memset(&report, 0, sizeof report);
    report.kind = kind;
    report.buffer = -1;
    report.times = 1;
    set_place(report.here, place, block_index, current ? current->index : Index{0, 0, 0}, write);
    set_place(report.other, other_place, Index{~0u, 0, 0}, Index{0, 0, 0}, false);
    return &report;
}

__attribute__((format(printf, 3, 4))) static void report_text(int kind, unsigned place, const char* format, ...) {
    CudaOnCpuReport* report = new_report(kind, place, false);
    if (!report) return;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(report->text, sizeof report->text, format, arguments);
    va_end(arguments);
}

// Nothing sensible can follow: leave the block.
static void abandon() {
    abandoned = true;
    if (current) {
        current->state = EXITED;
        let_others_run();
    }
}

} // namespace cuda_on_cpu
