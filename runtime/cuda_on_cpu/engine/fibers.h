// Fibers: one stack per CUDA thread, and a switch that saves the registers a call must preserve.
#pragma once
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

extern "C" void cuda_on_cpu_switch(void** save, void* to);

#if defined(__x86_64__)
asm(R"(
.text
.hidden cuda_on_cpu_switch
.globl cuda_on_cpu_switch
.type cuda_on_cpu_switch, @function
cuda_on_cpu_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size cuda_on_cpu_switch, .-cuda_on_cpu_switch
)");
static const int SAVED_WORDS = 6, RETURN_WORD = 6;
#elif defined(__aarch64__)
asm(R"(
.text
.hidden cuda_on_cpu_switch
.globl cuda_on_cpu_switch
.type cuda_on_cpu_switch, %function
cuda_on_cpu_switch:
    sub sp, sp, #160
    stp x19, x20, [sp, #0]
    stp x21, x22, [sp, #16]
    stp x23, x24, [sp, #32]
    stp x25, x26, [sp, #48]
    stp x27, x28, [sp, #64]
    stp x29, x30, [sp, #80]
    stp d8, d9, [sp, #96]
    stp d10, d11, [sp, #112]
    stp d12, d13, [sp, #128]
    stp d14, d15, [sp, #144]
    mov x9, sp
    str x9, [x0]
    mov sp, x1
    ldp x19, x20, [sp, #0]
    ldp x21, x22, [sp, #16]
    ldp x23, x24, [sp, #32]
    ldp x25, x26, [sp, #48]
    ldp x27, x28, [sp, #64]
    ldp x29, x30, [sp, #80]
    ldp d8, d9, [sp, #96]
    ldp d10, d11, [sp, #112]
    ldp d12, d13, [sp, #128]
    ldp d14, d15, [sp, #144]
    add sp, sp, #160
    ret
.size cuda_on_cpu_switch, .-cuda_on_cpu_switch
)");
static const int SAVED_WORDS = 20, RETURN_WORD = 11;
#else
#error "cuda_on_cpu switches fibers on x86-64 and AArch64 only"
#endif

namespace cuda_on_cpu {

static const size_t STACK = 256 * 1024, PAGE = 4096;

// Stacks of all threads of a block; each ends in a page that may not be touched. Such pages are made for as many
// threads as were used, for a process may have only so many mappings, and every library has stacks of its own.
static char* stacks(unsigned used = 0) {
    static char* area = nullptr;
    static unsigned guarded = 0;
    if (!area) {
        const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
        void* found = mmap(nullptr, 1024 * STACK, PROT_READ | PROT_WRITE, flags, -1, 0);
        if (found == MAP_FAILED) abort();
        area = static_cast<char*>(found);
    }
    for (; guarded < used; ++guarded) mprotect(area + guarded * STACK, PAGE, PROT_NONE);
    return area;
}

// A stack that will run `entry` when it is switched to. Stacks begin at different places of a page, or all of them
// would ask for the same lines of the cache.
static void* prepared(char* stack, unsigned number, void (*entry)()) {
    void** top = reinterpret_cast<void**>(stack + STACK - 64 - number % 61 * 192);
#if defined(__x86_64__)
    *--top = nullptr; // where a return address would be, so that the stack is aligned as after a call
    *--top = reinterpret_cast<void*>(entry);
    for (int word = 0; word < SAVED_WORDS; ++word) *--top = nullptr;
#else
    top -= SAVED_WORDS;
    for (int word = 0; word < SAVED_WORDS; ++word) top[word] = nullptr;
    top[RETURN_WORD] = reinterpret_cast<void*>(entry);
#endif
    return top;
}

} // namespace cuda_on_cpu
