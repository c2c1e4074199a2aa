"""Tensor Core instructions as small functions of a prelude, each with two bodies: one for nvcc, one for the CPU.

`prelude(names)` gives the text that a kernel using those functions starts with. For nvcc a function is one line of PTX;
on the CPU (`CUDA_ON_CPU` is defined, see `runtime.cuda_on_cpu`) it is a loop straight from the table of which lane
holds which element. A kernel's own text is the same for both compilers.

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
// 16 bytes from global to shared memory, past the registers; there when the thread has waited for them.
#ifdef CUDA_ON_CPU
inline void cp_async16(void* to, const void* from, int line = __builtin_LINE()) {
    cuda_on_cpu_copy_async(to, from, 16, 16, line);
}
#else
__device__ __forceinline__ void cp_async16(void* to, const void* from) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"((unsigned)__cvta_generic_to_shared(to)), "l"(from)
                 : "memory");
}
#endif
"""

_CP_ASYNC_FILL = """
// The same where `holds`, else 16 bytes of zeros; `from` is not read then.
#ifdef CUDA_ON_CPU
inline void cp_async16_or_zero(void* to, const void* from, bool holds, int line = __builtin_LINE()) {
    cuda_on_cpu_copy_async(to, from, 16, holds ? 16 : 0, line);
}
#else
__device__ __forceinline__ void cp_async16_or_zero(void* to, const void* from, bool holds) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"((unsigned)__cvta_generic_to_shared(to)),
                 "l"(from), "r"(holds ? 16 : 0)
                 : "memory");
}
#endif
"""

_CP_ASYNC_COMMIT = """
// The thread's copies since the last commit are one group.
__device__ __forceinline__ void cp_async_commit() {
#ifdef CUDA_ON_CPU
    cuda_on_cpu_commit_copies();
#else
    asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}
"""

_CP_ASYNC_WAIT = """
// Wait until at most {count} of the thread's groups are under way.
__device__ __forceinline__ void cp_async_wait_{count}() {{
#ifdef CUDA_ON_CPU
    cuda_on_cpu_wait_copies({count});
#else
    asm volatile("cp.async.wait_group {count};" ::: "memory");
#endif
}}
"""

# On the CPU each lane posts its operands and the last one to come computes for all 32.
_LDMATRIX = """
// Four 8 x 8 matrices from shared memory{transposed}; lane 8i + r points at row r of matrix i.
#ifdef CUDA_ON_CPU
struct {name}_operands {{
    unsigned* r;
    const unsigned short* row;
}};
CUDA_ON_CPU_PLAIN inline void {name}_of_warp(void** lanes, unsigned) {{
    for (int lane = 0; lane < 32; ++lane) {{
        for (int i = 0; i < 4; ++i) {{
            unsigned short two[2];
            for (int e = 0; e < 2; ++e) {{
                const int row = {row}, column = {column};
                two[e] = (({name}_operands*)lanes[8 * i + row])->row[column];
            }}
            (({name}_operands*)lanes[lane])->r[i] = two[0] | (unsigned)two[1] << 16;
        }}
    }}
}}
CUDA_ON_CPU_PLAIN inline void {name}(unsigned* r, const void* row, int line = __builtin_LINE()) {{
    cuda_on_cpu_access(row, 16, 0, line);
    {name}_operands operands = {{r, (const unsigned short*)row}};
    cuda_on_cpu_call({name}_of_warp, &operands, 0xffffffffu, line);
}}
#else
__device__ __forceinline__ void {name}(unsigned* r, const void* row) {{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4{modifier}.shared.b16 {{%0, %1, %2, %3}}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"((unsigned)__cvta_generic_to_shared(row))
                 : "memory");
}}
#endif
"""

_MMA = """
// c = c + a * b for a 16 x {k} tile of a and a {k} x 8 tile of b{note}.
#ifdef CUDA_ON_CPU
struct mma_{dtype}_operands {{
    float* c;
    const unsigned* a;
    unsigned b[2];
}};
CUDA_ON_CPU_PLAIN inline float mma_{dtype}_value(unsigned bits, int which) {{
    {value}
}}
CUDA_ON_CPU_PLAIN inline void mma_{dtype}_of_warp(void** lanes, unsigned) {{
    for (int row = 0; row < 16; ++row) {{
        for (int column = 0; column < 8; ++column) {{
            float* sum = &((mma_{dtype}_operands*)lanes[row % 8 * 4 + column / 2])->c[row / 8 * 2 + column % 2];
            for (int k = 0; k < {k}; ++k) {{
                const int t = k / {packed} % 4, half = k / {packed} / 4, which = k % {packed};
                const unsigned a = ((mma_{dtype}_operands*)lanes[row % 8 * 4 + t])->a[half * 2 + row / 8];
                const unsigned b = ((mma_{dtype}_operands*)lanes[column * 4 + t])->b[half];
                *sum += mma_{dtype}_value(a, which) * mma_{dtype}_value(b, which);
            }}
        }}
    }}
}}
CUDA_ON_CPU_PLAIN inline void mma_{dtype}(float* c, const unsigned* a, unsigned b0, unsigned b1,
                                          int line = __builtin_LINE()) {{
    mma_{dtype}_operands operands = {{c, a, {{b0, b1}}}};
    cuda_on_cpu_call(mma_{dtype}_of_warp, &operands, 0xffffffffu, line);
}}
#else
__device__ __forceinline__ void mma_{dtype}(float* c, const unsigned* a, unsigned b0, unsigned b1) {{
    asm volatile("mma.sync.aligned.m16n8k{k}.row.col.f32.{ptx}.{ptx}.f32 "
                 "{{%0, %1, %2, %3}}, {{%4, %5, %6, %7}}, {{%8, %9}}, {{%0, %1, %2, %3}};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}}
#endif
"""

_VALUES = {
    "float16": "return cuda_on_cpu_half_value((unsigned short)(bits >> 16 * which));",
    "bfloat16": "return __uint_as_float((bits >> 16 * which) << 16);",
    "tf32": "return __uint_as_float(bits + 0u * (unsigned)which);",
}


def _mma(dtype: str, ptx: str) -> str:
    narrow = dtype != "tf32"
    note = "" if narrow else " of tf32"
    return _MMA.format(dtype=dtype, ptx=ptx, k=16 if narrow else 8, packed=2 if narrow else 1, note=note,
                       value=_VALUES[dtype])  # fmt: skip


def _ldmatrix(name: str, row: str, column: str, modifier: str, transposed: str) -> str:
    return _LDMATRIX.format(name=name, row=row, column=column, modifier=modifier, transposed=transposed)


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

_TO_BFLOAT16 = """
// The bits of the nearest bfloat16, ties to even.
__device__ __forceinline__ unsigned short to_bfloat16(float value) {
    const unsigned bits = __float_as_uint(value);
    return (bits & 0x7fffffffu) > 0x7f800000u ? 0x7fffu : (unsigned short)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}
"""

# Function → its text, in the order of printing.
FUNCTIONS = {
    "cp_async16": _CP_ASYNC,
    "cp_async16_or_zero": _CP_ASYNC_FILL,
    "cp_async_commit": _CP_ASYNC_COMMIT,
    **{f"cp_async_wait_{count}": _CP_ASYNC_WAIT.format(count=count) for count in range(8)},
    "ldmatrix_x4": _ldmatrix("ldmatrix_x4", "lane / 4", "lane % 4 * 2 + e", "", ""),
    "ldmatrix_x4_trans": _ldmatrix("ldmatrix_x4_trans", "lane % 4 * 2 + e", "lane / 4", ".trans", ", each transposed"),
    "mma_float16": _mma("float16", "f16"),
    "mma_bfloat16": _mma("bfloat16", "bf16"),
    "to_bfloat16": _TO_BFLOAT16,
    "to_tf32": _TO_TF32,
    "mma_tf32": _mma("tf32", "tf32"),
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
