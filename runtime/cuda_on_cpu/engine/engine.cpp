// The engine that CUDA kernels built for the CPU are linked with: launches, and what the kernels call.
#include "scheduler.h"
#include <elf.h>
#include <link.h>
#include <math.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern "C" const CudaOnCpuKernel cuda_on_cpu_table[];
extern "C" const int cuda_on_cpu_table_size;

#include "hooks.h"
#include "zone.h"

using namespace cuda_on_cpu;

namespace cuda_on_cpu {

// Around the section of shared arrays, so that an index that runs out of it meets nothing else. The linker puts sections
// in the order of the objects: zone.cpp, the kernels, this file.
__attribute__((section("cuda_shared_past"), used)) static char past[ZONE];

// Constant tables and __device__ variables lie in the library itself.
bool belongs_to_library(const char* address, unsigned size, bool write) {
    if (address >= __start_cuda_shared_before && address < __stop_cuda_shared_past) return false;
    const auto* header = reinterpret_cast<const ElfW(Ehdr)*>(__ehdr_start);
    const auto* segments = reinterpret_cast<const ElfW(Phdr)*>(__ehdr_start + header->e_phoff);
    for (int number = 0; number < header->e_phnum; ++number) {
        const ElfW(Phdr)& segment = segments[number];
        const char* begin = __ehdr_start + segment.p_vaddr;
        if (segment.p_type == PT_LOAD && address >= begin && address + size <= begin + segment.p_memsz)
            return !write || segment.p_flags & PF_W;
    }
    return false;
}

static void prepare_library_region() {
    const auto* header = reinterpret_cast<const ElfW(Ehdr)*>(__ehdr_start);
    const auto* segments = reinterpret_cast<const ElfW(Phdr)*>(__ehdr_start + header->e_phoff);
    for (int number = 0; number < header->e_phnum && !library_region.shadow; ++number) {
        const ElfW(Phdr)& segment = segments[number];
        if (segment.p_type != PT_LOAD || !(segment.p_flags & PF_W)) continue;
        library_region = {const_cast<char*>(__ehdr_start) + segment.p_vaddr, segment.p_memsz,
                          new_shadow(segment.p_memsz / cuda_on_cpu_granule + 1), cuda_on_cpu_granule,
                          unsigned(__builtin_ctz(cuda_on_cpu_granule)), -4};
    }
}

static void prepare_regions() {
    prepare_library_region();
    static_region.name = -2, dynamic_region.name = -3;
    static_region.granule = dynamic_region.granule = cuda_on_cpu_granule;
    static_region.shift = dynamic_region.shift = __builtin_ctz(cuda_on_cpu_granule);
    static_region.begin = __start_cuda_shared;
    static_region.bytes = cuda_on_cpu_shared_bytes();
    dynamic_region.begin = dynamic_shared();
    dynamic_region.bytes = launch->shared_bytes;
    if (!static_region.shadow && static_region.bytes)
        static_region.shadow = new_shadow(static_region.bytes / cuda_on_cpu_granule);
    if (!dynamic_region.shadow && launch->shared_bytes) dynamic_region.shadow = new_shadow(MAX_SHARED / cuda_on_cpu_granule);
    region_count = launch->buffers;
    regions = static_cast<Region*>(calloc(launch->buffers + 1, sizeof(Region)));
    recent_region = nullptr;
    for (int number = 0; number < region_count; ++number) {
        const CudaOnCpuBuffer& buffer = launch->buffer[number];
        Shadow* shadow = buffer.constant ? nullptr : new_shadow(buffer.bytes / buffer.granule);
        regions[number] = {static_cast<char*>(buffer.begin), buffer.bytes, shadow, buffer.granule,
                           unsigned(__builtin_ctz(buffer.granule)), number};
    }
}

static void drop_regions() {
    for (int number = 0; number < region_count; ++number)
        if (regions[number].shadow)
            munmap(regions[number].shadow, (regions[number].bytes / regions[number].granule + 1) * sizeof(Shadow));
    free(regions);
    regions = nullptr;
    region_count = 0;
}

static void run_grid() {
    thread_count = launch->block[0] * launch->block[1] * launch->block[2];
    warp_count = (thread_count + WARP - 1) / WARP;
    const size_t blocks = size_t(launch->grid[0]) * launch->grid[1] * launch->grid[2];
    first_interval = static_cast<uint32_t*>(malloc(blocks * sizeof(uint32_t)));
    blocks_started = 0;
    launch_start = ++interval;
    prepare_regions();
    for (size_t block = 0; block < blocks; ++block) {
        const unsigned x = launch->grid[0], y = launch->grid[1];
        block_index = {unsigned(block % x), unsigned(block / x % y), unsigned(block / x / y)};
        run_block();
    }
    drop_regions();
    free(first_interval);
}

// Run in a child process, so that neither a crash nor an endless loop is the caller's.
static void run_apart() {
    const pid_t child = fork();
    if (child == 0) {
        for (int number : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTERM, SIGINT}) signal(number, SIG_DFL);
        run_grid();
        _exit(0);
    }
    int status = 0;
    pid_t ended = child < 0 ? -1 : 0;
    for (double waited = 0; ended == 0; waited += 0.001) {
        ended = waitpid(child, &status, WNOHANG);
        if (ended == 0 && waited > launch->seconds) {
            kill(child, SIGKILL);
            waitpid(child, &status, 0);
            report_text(TIME_LIMIT, place_of(0), "still running after %g seconds", launch->seconds);
            return;
        }
        const timespec pause_for = {0, waited < 0.01 ? 100000 : 1000000};
        if (ended == 0) nanosleep(&pause_for, nullptr);
    }
    if (ended < 0) report_text(CRASH, place_of(0), "no child process could be started");
    else if (WIFSIGNALED(status))
        report_text(CRASH, place_of(0), "the kernel was ended by signal %d (%s)", WTERMSIG(status),
                    strsignal(WTERMSIG(status)));
    else if (WEXITSTATUS(status)) report_text(CRASH, place_of(0), "the kernel ended its process");
}

} // namespace cuda_on_cpu

int cuda_on_cpu_kernels(void) { return cuda_on_cpu_table_size; }
const CudaOnCpuKernel* cuda_on_cpu_kernel(int number) { return &cuda_on_cpu_table[number]; }
size_t cuda_on_cpu_shared_bytes(void) { return __stop_cuda_shared - __start_cuda_shared; }
const char* cuda_on_cpu_shared_begin(void) { return __start_cuda_shared; }
const char* cuda_on_cpu_base(void) { return __ehdr_start; }

void* cuda_on_cpu_reserve(int count, const size_t* bytes, void** places, size_t* reserved) {
    const size_t round = 1 << 16;
    for (size_t gap = size_t(1) << 34; gap >= round; gap >>= 2) {
        size_t total = gap;
        for (int number = 0; number < count; ++number) total += (bytes[number] + round - 1) / round * round + gap;
        void* area = mmap(nullptr, total, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (area == MAP_FAILED) continue;
        char* place = static_cast<char*>(area) + gap;
        bool whole = true;
        for (int number = 0; number < count; ++number) {
            const size_t size = (bytes[number] + round - 1) / round * round;
            const int flags = MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED;
            if (size) whole &= mmap(place, size, PROT_READ | PROT_WRITE, flags, -1, 0) != MAP_FAILED;
            places[number] = place;
            place += size + gap;
        }
        *reserved = total;
        if (whole) return area;
        munmap(area, total);
        return nullptr;
    }
    return nullptr;
}

void cuda_on_cpu_release(void* area, size_t reserved) { munmap(area, reserved); }

int cuda_on_cpu_launch(const CudaOnCpuLaunch* wanted) {
    kernel = nullptr;
    for (int number = 0; number < cuda_on_cpu_table_size; ++number)
        if (!strcmp(cuda_on_cpu_table[number].name, wanted->kernel)) kernel = &cuda_on_cpu_table[number];
    if (!kernel) return -1;
    launch = wanted;
    const size_t bytes = wanted->capacity * sizeof(CudaOnCpuReport) + 64;
    void* shared = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) return -2;
    report_count = static_cast<int*>(shared);
    reports = reinterpret_cast<CudaOnCpuReport*>(static_cast<char*>(shared) + 64);
    if (wanted->seconds > 0) run_apart();
    else run_grid();
    const int found = *report_count;
    memcpy(wanted->report, reports, found * sizeof(CudaOnCpuReport));
    munmap(shared, bytes);
    return found;
}
