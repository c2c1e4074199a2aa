// A stand-in for libcuda.so.1 over malloc and the CPU shim, for tests of the launcher on machines without a GPU.
//
// A "cubin" is a library of kernels built for the CPU (runtime/cuda_on_cpu). Launches run at once, inside
// cuLaunchKernel; what the shim reports is the launch's error, and that error is returned by every call after it, as a
// poisoned context does. Times are the host's clock: they are no measurement of anything.
//
// $MINI_STAND_IN makes it fail: no_device, old_driver, memory=BYTES, hang=KERNEL, fault=KERNEL, slow=KERNEL.
#include "interface.h"

#include <dlfcn.h>
#include <elf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

typedef int Result;
typedef unsigned long long Address;
enum { SUCCESS, INVALID_VALUE, OUT_OF_MEMORY, NOT_INITIALIZED, NO_DEVICE = 100, INVALID_IMAGE = 200, NO_BINARY = 209,
       NOT_FOUND = 500, ILLEGAL_ADDRESS = 700, MISALIGNED_ADDRESS = 716, LAUNCH_FAILED = 719,
       CAPTURE_UNSUPPORTED = 900 };
enum { PARAMETERS = 64, ALIGNMENT = 256, REPORTS = 4, GPU_CODE = 190 };

struct Module {
    void* library;
    int (*launch)(const CudaOnCpuLaunch*);
    int (*kernels)();
    const CudaOnCpuKernel* (*kernel)(int);
};
struct Function {
    const CudaOnCpuKernel* kernel;
    Module* module;
};
struct Node {
    Node* next;
    Function* function;
    unsigned grid[3], block[3], shared;
    void* pointers[PARAMETERS];
    unsigned long long values[PARAMETERS];
};
struct Graph {
    Node* first;
    Node** end;
};
struct Memory {
    Memory* next;
    char* start;
    size_t size;
};

static int initialized, poisoned, context;
static Graph* recording;
static Memory* memories;
static size_t allocated;

#define READY() do { if (!initialized) return NOT_INITIALIZED; if (poisoned) return poisoned; } while (0)

static const char* asked(const char* key) {
    const char* text = getenv("MINI_STAND_IN");
    size_t size = strlen(key);
    if (!text || strncmp(text, key, size) != 0 || (text[size] != 0 && text[size] != '=')) return nullptr;
    return text + size + (text[size] == '=');
}

static int asked_of(const char* key, const char* kernel) {
    const char* wanted = asked(key);
    return wanted && strncmp(kernel, wanted, strlen(wanted)) == 0;
}

// The memory that holds all of the bytes; none: 0.
static Memory* memory_of(Address start, size_t size) {
    for (Memory* memory = memories; memory; memory = memory->next)
        if ((char*)start >= memory->start && (char*)start + size <= memory->start + memory->size) return memory;
    return 0;
}

template <class Value> static Value* make(const Value& value) {
    return static_cast<Value*>(memcpy(malloc(sizeof value), &value, sizeof value));
}

template <class Pointer> static bool find(Pointer& to, void* library, const char* name) {
    to = reinterpret_cast<Pointer>(dlsym(library, name));
    return to != nullptr;
}

extern "C" {

Result cuInit(unsigned flags) {
    if (flags) return INVALID_VALUE;
    if (asked("no_device")) return NO_DEVICE;
    initialized = 1;
    poisoned = 0; // so that one process can test several failures; a GPU's driver would need a new process
    return SUCCESS;
}

Result cuDriverGetVersion(int* version) {
    *version = asked("old_driver") ? 10020 : 13000;
    return SUCCESS;
}

Result cuDeviceGetCount(int* count) { READY(); *count = 1; return SUCCESS; }
Result cuDeviceGet(int* device, int ordinal) { READY(); *device = 0; return ordinal ? INVALID_VALUE : SUCCESS; }

Result cuDeviceGetName(char* name, int size, int device) {
    READY();
    snprintf(name, size, "stand-in on a CPU");
    return device ? INVALID_VALUE : SUCCESS;
}

static size_t total_memory(void) {
    const char* bytes = asked("memory");
    return bytes ? strtoull(bytes, 0, 10) : (size_t)1 << 30;
}

Result cuDeviceTotalMem_v2(size_t* bytes, int device) {
    READY();
    *bytes = total_memory();
    return device ? INVALID_VALUE : SUCCESS;
}

// An H100's, but for a small L2 cache, so that flushing it is quick.
static const int attributes[][2] = {
    {1, 1024}, {8, 49152}, {10, 32}, {13, 1980000}, {16, 132}, {36, 2619000}, {37, 5120}, {38, 1 << 20}, {39, 2048},
    {75, 9}, {76, 0}, {81, 233472}, {82, 65536}, {97, 232448}, {106, 32}};

Result cuDeviceGetAttribute(int* value, int attribute, int device) {
    READY();
    for (size_t i = 0; i < sizeof attributes / sizeof *attributes; ++i)
        if (attributes[i][0] == attribute && !device) { *value = attributes[i][1]; return SUCCESS; }
    return INVALID_VALUE;
}

Result cuDevicePrimaryCtxRetain(void** made, int device) {
    READY();
    *made = &context;
    return device ? INVALID_VALUE : SUCCESS;
}
Result cuDevicePrimaryCtxRelease_v2(int device) { READY(); return device ? INVALID_VALUE : SUCCESS; }
Result cuCtxSetCurrent(void* given) { READY(); return given == &context ? SUCCESS : INVALID_VALUE; }
Result cuCtxSynchronize(void) { READY(); return recording ? CAPTURE_UNSUPPORTED : SUCCESS; }

static size_t image_size(const Elf64_Ehdr* header) {
    return header->e_shoff + (size_t)header->e_shnum * header->e_shentsize;
}

Result cuModuleLoadData(Module** made, const void* image) {
    READY();
    const Elf64_Ehdr* header = static_cast<const Elf64_Ehdr*>(image);
    if (memcmp(image, ELFMAG, SELFMAG)) return INVALID_IMAGE;
    if (header->e_machine == GPU_CODE) return NO_BINARY; // this is no GPU
    // The file stays open: dlopen takes a path that it has seen for the library that it has, so none may come twice.
    const int file = memfd_create("module", MFD_CLOEXEC);
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", file);
    if (file < 0 || write(file, image, image_size(header)) != (ssize_t)image_size(header)) return OUT_OF_MEMORY;
    void* library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    Module module = {library, nullptr, nullptr, nullptr};
    if (!library || !find(module.launch, library, "cuda_on_cpu_launch") ||
        !find(module.kernels, library, "cuda_on_cpu_kernels") || !find(module.kernel, library, "cuda_on_cpu_kernel")) {
        fprintf(stderr, "stand-in: %s\n", dlerror());
        return INVALID_IMAGE;
    }
    *made = make(module);
    return SUCCESS;
}

Result cuModuleUnload(Module* module) { // the library stays, as libraries do
    READY();
    free(module);
    return SUCCESS;
}

Result cuModuleGetFunction(Function** made, Module* module, const char* name) {
    READY();
    for (int number = 0; number < module->kernels(); ++number) {
        const CudaOnCpuKernel* kernel = module->kernel(number);
        if (strcmp(kernel->name, name) == 0 && kernel->parameters <= PARAMETERS) {
            *made = make(Function{kernel, module});
            return SUCCESS;
        }
    }
    return NOT_FOUND;
}

Result cuFuncGetAttribute(int* value, int attribute, Function* function) {
    READY();
    *value = attribute == 0 ? 1024 : 0;
    return function ? SUCCESS : INVALID_VALUE;
}

Result cuFuncSetAttribute(Function* function, int attribute, int value) {
    READY();
    return function && attribute == 8 && value <= 232448 ? SUCCESS : INVALID_VALUE;
}

Result cuMemGetInfo_v2(size_t* available, size_t* total) {
    READY();
    *total = total_memory();
    *available = *total - allocated;
    return SUCCESS;
}

Result cuMemAlloc_v2(Address* address, size_t size) {
    READY();
    if (!size) return INVALID_VALUE;
    if (allocated + size > total_memory()) return OUT_OF_MEMORY;
    Memory* memory = make(Memory{});
    memory->size = size;
    memory->start = (char*)aligned_alloc(ALIGNMENT, (size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT);
    memory->next = memories;
    memories = memory;
    allocated += size;
    *address = (Address)memory->start;
    return SUCCESS;
}

Result cuMemFree_v2(Address address) {
    READY();
    for (Memory** place = &memories; *place; place = &(*place)->next)
        if ((Address)(*place)->start == address) {
            Memory* memory = *place;
            *place = memory->next;
            allocated -= memory->size;
            free(memory->start);
            free(memory);
            return SUCCESS;
        }
    return INVALID_VALUE;
}

Result cuMemcpyHtoD_v2(Address to, const void* from, size_t size) {
    READY();
    if (!memory_of(to, size)) return INVALID_VALUE;
    memcpy((void*)to, from, size);
    return SUCCESS;
}

Result cuMemcpyDtoH_v2(void* to, Address from, size_t size) {
    READY();
    if (!memory_of(from, size)) return INVALID_VALUE;
    memcpy(to, (void*)from, size);
    return SUCCESS;
}

Result cuMemsetD8Async(Address to, unsigned char byte, size_t size, void* stream) {
    READY();
    if (recording) return CAPTURE_UNSUPPORTED;
    if (!stream || !memory_of(to, size)) return INVALID_VALUE;
    memset((void*)to, byte, size);
    return SUCCESS;
}

Result cuMemsetD32Async(Address to, unsigned word, size_t count, void* stream) {
    READY();
    if (recording) return CAPTURE_UNSUPPORTED;
    if (!stream || !memory_of(to, 4 * count)) return INVALID_VALUE;
    for (size_t i = 0; i < count; ++i) ((unsigned*)to)[i] = word;
    return SUCCESS;
}

Result cuStreamCreate(void** stream, unsigned flags) {
    READY();
    *stream = malloc(1);
    return flags > 1 ? INVALID_VALUE : SUCCESS;
}
Result cuStreamSynchronize(void* stream) { READY(); return stream ? SUCCESS : INVALID_VALUE; }
Result cuStreamDestroy_v2(void* stream) { READY(); free(stream); return SUCCESS; }

static Result error_of(const CudaOnCpuReport& report) {
    fprintf(stderr, "stand-in: the shim reports kind %d on line %d: %s\n", report.kind, report.here.line, report.text);
    if (report.kind == OUT_OF_BOUNDS || report.kind == CRASH) return ILLEGAL_ADDRESS;
    return report.kind == MISALIGNED ? MISALIGNED_ADDRESS : LAUNCH_FAILED;
}

static Result run(Function* function, const unsigned* grid, const unsigned* block, unsigned shared, void** arguments) {
    const CudaOnCpuKernel* kernel = function->kernel;
    if (asked_of("fault", kernel->name)) return poisoned = ILLEGAL_ADDRESS;
    if (asked_of("hang", kernel->name)) for (;;) pause();
    if (asked_of("slow", kernel->name)) usleep(600000);
    CudaOnCpuBuffer buffers[PARAMETERS];
    int count = 0;
    for (int number = 0; number < kernel->parameters; ++number) {
        if (!kernel->parameter[number].pointer) continue;
        const Memory* memory = memory_of(*static_cast<Address*>(arguments[number]), 0);
        const unsigned size = kernel->parameter[number].size;
        bool known = !memory; // whatever the kernel does outside all memory is reported
        for (int other = 0; memory && other < count; ++other) known |= buffers[other].begin == memory->start;
        if (known) continue;
        CudaOnCpuBuffer& buffer = buffers[count++] = CudaOnCpuBuffer{};
        buffer.begin = memory->start;
        buffer.bytes = memory->size;
        buffer.granule = size < 4 ? size : 4;
    }
    CudaOnCpuReport reports[REPORTS];
    CudaOnCpuLaunch launch{};
    launch.kernel = kernel->name;
    memcpy(launch.grid, grid, sizeof launch.grid);
    memcpy(launch.block, block, sizeof launch.block);
    launch.shared_bytes = shared;
    launch.arguments = arguments;
    launch.buffers = count;
    launch.buffer = buffers;
    launch.capacity = REPORTS;
    launch.report = reports;
    const int found = function->module->launch(&launch);
    return poisoned = found > 0 ? error_of(reports[0]) : found < 0 ? NOT_FOUND : SUCCESS;
}

Result cuLaunchKernel(Function* function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                      unsigned shared, void* stream, void** arguments, void** extra) {
  READY();
  unsigned grid[3] = {gx, gy, gz}, block[3] = {bx, by, bz};
  unsigned long long threads = (unsigned long long)bx * by * bz, blocks = (unsigned long long)gx * gy * gz;
  if (!stream || extra || !blocks || !threads || threads > 1024 || gy > 65535 || gz > 65535 || gx > 2147483647u)
    return INVALID_VALUE;
  if (!recording) return run(function, grid, block, shared, arguments);
  Node* node = make(Node{});
  node->function = function;
  memcpy(node->grid, grid, sizeof grid);
  memcpy(node->block, block, sizeof block);
  node->shared = shared;
  for (int i = 0; i < function->kernel->parameters; ++i) {
    memcpy(&node->values[i], arguments[i], sizeof node->values[i]);
    node->pointers[i] = &node->values[i];
  }
  *recording->end = node;
  recording->end = &node->next;
  return SUCCESS;
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1e3 + time.tv_nsec * 1e-6;
}

Result cuEventCreate(double** event, unsigned flags) {
    READY();
    *event = make(0.0);
    return flags > 7 ? INVALID_VALUE : SUCCESS;
}
Result cuEventRecord(double* event, void* stream) {
    READY();
    *event = now();
    return stream ? SUCCESS : INVALID_VALUE;
}
Result cuEventSynchronize(double* event) { READY(); return *event ? SUCCESS : INVALID_VALUE; }
Result cuEventElapsedTime(float* milliseconds, double* start, double* end) {
    READY();
    *milliseconds = (float)(*end - *start);
    return SUCCESS;
}
Result cuEventDestroy_v2(double* event) { READY(); free(event); return SUCCESS; }

Result cuStreamBeginCapture_v2(void* stream, int mode) {
    READY();
    if (recording || !stream || mode < 0 || mode > 2) return INVALID_VALUE;
    recording = make(Graph{});
    recording->end = &recording->first;
    return SUCCESS;
}

Result cuStreamEndCapture(void* stream, Graph** graph) {
    READY();
    if (!recording || !stream) return INVALID_VALUE;
    *graph = recording;
    recording = 0;
    return SUCCESS;
}

Result cuGraphInstantiateWithFlags(Graph** made, Graph* graph, unsigned long long flags) {
    READY();
    *made = graph;
    return flags ? INVALID_VALUE : SUCCESS;
}

Result cuGraphLaunch(Graph* graph, void* stream) {
    READY();
    if (!stream) return INVALID_VALUE;
    for (Node* node = graph->first; node; node = node->next) {
        Result result = run(node->function, node->grid, node->block, node->shared, node->pointers);
        if (result) return result;
    }
    return SUCCESS;
}

Result cuGraphExecDestroy(Graph* graph) { READY(); return graph ? SUCCESS : INVALID_VALUE; } // it is the graph itself

Result cuGraphDestroy(Graph* graph) {
    READY();
    while (graph->first) {
        Node* node = graph->first;
        graph->first = node->next;
        free(node);
    }
    free(graph);
    return SUCCESS;
}

static const struct { int code; const char* name, *meaning; } errors[] = {
    {INVALID_VALUE, "CUDA_ERROR_INVALID_VALUE", "invalid argument"},
    {OUT_OF_MEMORY, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory"},
    {NOT_INITIALIZED, "CUDA_ERROR_NOT_INITIALIZED", "initialization error"},
    {NO_DEVICE, "CUDA_ERROR_NO_DEVICE", "no CUDA-capable device is detected"},
    {INVALID_IMAGE, "CUDA_ERROR_INVALID_IMAGE", "device kernel image is invalid"},
    {NO_BINARY, "CUDA_ERROR_NO_BINARY_FOR_GPU", "no kernel image is available for execution on the device"},
    {NOT_FOUND, "CUDA_ERROR_NOT_FOUND", "named symbol not found"},
    {ILLEGAL_ADDRESS, "CUDA_ERROR_ILLEGAL_ADDRESS", "an illegal memory access was encountered"},
    {MISALIGNED_ADDRESS, "CUDA_ERROR_MISALIGNED_ADDRESS", "misaligned address"},
    {LAUNCH_FAILED, "CUDA_ERROR_LAUNCH_FAILED", "unspecified launch failure"},
    {CAPTURE_UNSUPPORTED, "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED", "operation not permitted when stream is capturing"}};

static Result text_of(int code, const char** text, int meaning) {
    *text = 0;
    for (size_t i = 0; i < sizeof errors / sizeof *errors; ++i)
        if (errors[i].code == code) { *text = meaning ? errors[i].meaning : errors[i].name; return SUCCESS; }
    return INVALID_VALUE;
}

Result cuGetErrorName(int code, const char** text) { return text_of(code, text, 0); }
Result cuGetErrorString(int code, const char** text) { return text_of(code, text, 1); }

} // extern "C"
