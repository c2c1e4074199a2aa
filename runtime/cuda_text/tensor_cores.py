"""Tensor Core instructions as small functions of a prelude, each with two bodies: one for nvcc, one for the CPU.

`prelude(names)` gives the text that a kernel using those functions starts with. For nvcc a function is one line of PTX;
on the CPU (`CUDA_ON_CPU` is defined) it is written with `__shfl_sync`, straight from the table of which lane holds
which element. A kernel's own text is the same for both compilers.

Which lane holds what, with g = lane / 4 and t = lane % 4 (PTX ISA, "Matrix Fragments for mma.m16n8k16"):

    A (16 x 16): a[0] row g,     columns 2t, 2t + 1      B (16 x 8): b0 rows 2t, 2t + 1 of column g
                 a[1] row g + 8, the same columns                    b1 rows 2t + 8, 2t + 9 of column g
                 a[2] row g,     columns 2t + 8, 2t + 9  C (16 x 8): c[0], c[1] row g, columns 2t, 2t + 1
                 a[3] row g + 8, the same columns                    c[2], c[3] row g + 8, the same columns

`ldmatrix_x4` reads four 8 x 8 matrices of 16-bit elements from shared memory: lanes 8i .. 8i + 7 give the addresses of
the eight rows of matrix i, and every lane receives from each matrix the two elements that the table above asks for;
`ldmatrix_x4_trans` the two of the transposed matrix, which is how B is read from rows of k.
"""

from __future__ import annotations

from collections.abc import Iterable

_CP_ASYNC = """
// 16 bytes from global to shared memory, past the registers; written when the thread has waited for them.
__device__ __forceinline__ void cp_async16(void* to, const void* from) {
#ifdef CUDA_ON_CPU
    *(float4*)to = *(const float4*)from;
#else
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"((unsigned)__cvta_generic_to_shared(to)), "l"(from)
                 : "memory");
#endif
}
"""

_CP_ASYNC_FILL = """
// The same where `holds`, else 16 bytes of zeros; `from` is not read then.
__device__ __forceinline__ void cp_async16_or_zero(void* to, const void* from, bool holds) {
#ifdef CUDA_ON_CPU
    *(float4*)to = holds ? *(const float4*)from : make_float4(0.0f, 0.0f, 0.0f, 0.0f);
#else
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"((unsigned)__cvta_generic_to_shared(to)),
                 "l"(from), "r"(holds ? 16 : 0)
                 : "memory");
#endif
}
"""

_CP_ASYNC_COMMIT = """
// The thread's copies since the last commit are one group.
__device__ __forceinline__ void cp_async_commit() {
#ifndef CUDA_ON_CPU
    asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}
"""

_CP_ASYNC_WAIT = """
// Wait until at most {count} of the thread's groups are under way.
__device__ __forceinline__ void cp_async_wait_{count}() {{
#ifndef CUDA_ON_CPU
    asm volatile("cp.async.wait_group {count};" ::: "memory");
#endif
}}
"""

_LDMATRIX = """
// Four 8 x 8 matrices from shared memory; lane 8i + r points at row r of matrix i.
__device__ __forceinline__ void ldmatrix_x4(unsigned* r, const void* row) {
#ifdef CUDA_ON_CPU
    const int lane = threadIdx.x & 31;
    for (int i = 0; i < 4; ++i) {
        const char* from = (const char*)__shfl_sync(0xffffffffu, (unsigned long long)row, 8 * i + lane / 4);
        r[i] = ((const unsigned*)from)[lane % 4];
    }
    __syncwarp();
#else
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"((unsigned)__cvta_generic_to_shared(row))
                 : "memory");
#endif
}
"""

_LDMATRIX_TRANS = """
// The same, each matrix transposed.
__device__ __forceinline__ void ldmatrix_x4_trans(unsigned* r, const void* row) {
#ifdef CUDA_ON_CPU
    const int lane = threadIdx.x & 31;
    for (int i = 0; i < 4; ++i) {
        const int first = 8 * i + 2 * (lane % 4);
        const char* even = (const char*)__shfl_sync(0xffffffffu, (unsigned long long)row, first);
        const char* odd = (const char*)__shfl_sync(0xffffffffu, (unsigned long long)row, first + 1);
        const unsigned low = ((const unsigned short*)even)[lane / 4];
        r[i] = low | (unsigned)((const unsigned short*)odd)[lane / 4] << 16;
    }
    __syncwarp();
#else
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"((unsigned)__cvta_generic_to_shared(row))
                 : "memory");
#endif
}
"""

_UNPACK = {
    "float16": """
#ifdef CUDA_ON_CPU
__device__ __forceinline__ float float16_of_bits(unsigned bits) {
    half value;
    const unsigned short low = (unsigned short)bits;
    memcpy(&value, &low, 2);
    return __half2float(value);
}
#endif
""",
    "bfloat16": """
#ifdef CUDA_ON_CPU
__device__ __forceinline__ float bfloat16_of_bits(unsigned bits) {
    return __uint_as_float((bits & 0xffffu) << 16);
}
#endif
""",
}

_MMA = """
// c = c + a * b for a 16 x 16 tile of a and a 16 x 8 tile of b.
__device__ __forceinline__ void mma_{dtype}(float* c, const unsigned* a, unsigned b0, unsigned b1) {{
#ifdef CUDA_ON_CPU
    const int lane = threadIdx.x & 31, g = lane / 4, t = lane % 4;
    for (int from = 0; from < 4; ++from) {{
        for (int i = 0; i < 4; ++i) {{
            // columns k, k + 1 of row g (i even) or g + 8 (i odd)
            const unsigned row = __shfl_sync(0xffffffffu, a[i], 4 * g + from);
            const unsigned left = __shfl_sync(0xffffffffu, i < 2 ? b0 : b1, 8 * t + from);
            const unsigned right = __shfl_sync(0xffffffffu, i < 2 ? b0 : b1, 8 * t + 4 + from);
            for (int half_of = 0; half_of < 2; ++half_of) {{
                const float value = {dtype}_of_bits(row >> 16 * half_of);
                c[i % 2 * 2] += value * {dtype}_of_bits(left >> 16 * half_of);
                c[i % 2 * 2 + 1] += value * {dtype}_of_bits(right >> 16 * half_of);
            }}
        }}
    }}
    __syncwarp();
#else
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.{ptx}.{ptx}.f32 "
                 "{{%0, %1, %2, %3}}, {{%4, %5, %6, %7}}, {{%8, %9}}, {{%0, %1, %2, %3}};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#endif
}}
"""

_MMA_TF32 = """
// c = c + a * b for a 16 x 8 tile of a and an 8 x 8 tile of b, rounded to tf32: a[0] is (g, t), a[1] (g + 8, t),
// a[2] and a[3] the same of column t + 4; b0 is (t, g), b1 (t + 4, g).
__device__ __forceinline__ void mma_tf32(float* c, const unsigned* a, unsigned b0, unsigned b1) {
#ifdef CUDA_ON_CPU
    const int lane = threadIdx.x & 31, g = lane / 4, t = lane % 4;
    for (int from = 0; from < 4; ++from) {
        for (int i = 0; i < 4; ++i) {
            const float value = __uint_as_float(__shfl_sync(0xffffffffu, a[i], 4 * g + from));
            const unsigned b = i < 2 ? b0 : b1;
            c[i % 2 * 2] += value * __uint_as_float(__shfl_sync(0xffffffffu, b, 8 * t + from));
            c[i % 2 * 2 + 1] += value * __uint_as_float(__shfl_sync(0xffffffffu, b, 8 * t + 4 + from));
        }
    }
    __syncwarp();
#else
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 "
                 "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#endif
}
"""

_TO_TF32 = """
// Round to the nearest tf32: ten bits of fraction.
__device__ __forceinline__ unsigned to_tf32(float value) {
#ifdef CUDA_ON_CPU
    return (__float_as_uint(value) + 0x1000u) & 0xffffe000u;
#else
    unsigned bits;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(value));
    return bits;
#endif
}
"""

# Function → its text, in the order of printing.
FUNCTIONS = {
    "cp_async16": _CP_ASYNC,
    "cp_async16_or_zero": _CP_ASYNC_FILL,
    "cp_async_commit": _CP_ASYNC_COMMIT,
    **{f"cp_async_wait_{count}": _CP_ASYNC_WAIT.format(count=count) for count in range(8)},
    "ldmatrix_x4": _LDMATRIX,
    "ldmatrix_x4_trans": _LDMATRIX_TRANS,
    "mma_float16": _UNPACK["float16"] + _MMA.format(dtype="float16", ptx="f16"),
    "mma_bfloat16": _UNPACK["bfloat16"] + _MMA.format(dtype="bfloat16", ptx="bf16"),
    "to_tf32": _TO_TF32,
    "mma_tf32": _MMA_TF32,
}


def prelude(names: Iterable[str]) -> str:
    """The text of the functions that a kernel calls.

    Raises: ValueError: a name that is not one of `FUNCTIONS`.

    >>> print(prelude(["cp_async_commit"]).splitlines()[0])
    // The thread's copies since the last commit are one group.
    """
    wanted = set(names)
    unknown = wanted - set(FUNCTIONS)
    if unknown:
        raise ValueError(f"no function {sorted(unknown)[0]!r} in the prelude; there are {', '.join(FUNCTIONS)}")
    return "".join(text for name, text in FUNCTIONS.items() if name in wanted).lstrip("\n")


def prelude_of(text: str) -> str:
    """The functions that a kernel's text mentions.

    >>> "wait_group 1" in prelude_of("cp_async_wait_1();")
    True
    """
    return prelude(name for name in FUNCTIONS if f"{name}(" in text)
