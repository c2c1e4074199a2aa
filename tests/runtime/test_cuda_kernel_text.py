"""Reading CUDA text: kernels, their parameters, and what is changed for a C++ compiler."""

from __future__ import annotations

import pytest

from runtime.cuda_on_cpu.kernel_text import KernelText, for_cpu, granule, kernels_in, without_comments


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("__global__ void k() {}", KernelText("k", ())),
        ("__global__ void k(void) {}", KernelText("k", ())),
        ("static __global__ void\nk(float *x,\n int n) {}", KernelText("k", ("x", "n"))),
        ("__launch_bounds__(128, 2) __global__ void k(int n);", KernelText("k", ("n",))),
        ("__global__ __launch_bounds__(64) void k(int n) {}", KernelText("k", ("n",), 64)),
        ("__global__ void __launch_bounds__(N) k(int a[4], float) {}", KernelText("k", ("a", "argument_1"))),
        (
            "__global__ void k(dim3 d, Pair<int, float> p, const float* __restrict__ q) {}",
            KernelText("k", ("d", "p", "q")),
        ),
    ],
)
def test_a_declaration_is_read(text, expected):
    assert kernels_in(text) == (expected,)


def test_comments_strings_and_templates_declare_no_kernel():
    text = """
    // __global__ void a(int x) {}
    /* __global__ void b(int x) {} */
    const char* c = "__global__ void c(int x) {}";
    template <class T, int n> __global__ void d(T* x) {}
    __global__ void e(int x) {}
    """
    assert [kernel.name for kernel in kernels_in(text)] == ["e"]


def test_a_kernel_that_is_declared_and_defined_is_one():
    text = "__global__ void k(int n);\n__global__ void k(int n) {}"
    assert len(kernels_in(text)) == 1


def test_lines_stay_where_they_are():
    text = 'extern "C" __global__ void k(float* x) {\n    extern __shared__ float s[];\n    s[0] = 1;\n}\n'
    built = for_cpu(text).splitlines()
    assert built[2].strip() == "s[0] = 1;" and "extern" not in "".join(built[:4])
    assert "float* s = (float*)cuda_on_cpu_dynamic_shared();" in built[1]
    assert 'CUDA_ON_CPU_KERNEL("k", k)' in built[-3]


def test_aligned_dynamic_shared_arrays_are_found():
    for declaration in ("extern __shared__ __align__(16) half2 s[];", "extern __shared__ unsigned char s[ ] ;"):
        assert "cuda_on_cpu_dynamic_shared" in for_cpu(f"__global__ void k() {{ {declaration} }}")


def test_blanking_comments_keeps_every_place():
    text = 'a // b\n/* c\n d */ \'e\' "f\\"g" h'
    blank = without_comments(text)
    assert len(blank) == len(text) and blank.split() == ["a", "h"] and blank.count("\n") == 2


@pytest.mark.parametrize(
    ("text", "size"), [("float x;", 4), ("__half2 x;", 2), ("uchar4 x;", 1), ("// char\nint x;", 4)]
)
def test_the_smallest_type_decides_what_is_told_apart(text, size):
    assert granule(text) == size
