"""What this machine can do at best, measured: multiply-adds per second of its cores, bytes per second from its memory.

Both are small C loops that do nothing else: independent vector multiply-adds in registers, and a sum over an array
with many accumulators.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import cffi
import numpy as np

from runtime.compile_c import aligned_empty, build_library, find_compiler

ACCUMULATORS = 16
STEPS = 200_000

_SOURCE = """
typedef float vf __attribute__((vector_size({bytes}), may_alias));

void multiply_add(float *restrict out, int steps)
{{
    vf acc[{count}];
    const vf x = *(vf *)out, y = x * 0.5f;
    #pragma GCC unroll {count}
    for (int i = 0; i < {count}; i++) acc[i] = x * (float)i;
    for (int s = 0; s < steps; s++) {{
        #pragma GCC unroll {count}
        for (int i = 0; i < {count}; i++) {{ acc[i] = acc[i] * y + x; __asm__("" : "+v"(acc[i])); }}
    }}
    vf sum = acc[0];
    #pragma GCC unroll {count}
    for (int i = 1; i < {count}; i++) sum += acc[i];
    *(vf *)out = sum;
}}

void read_all(const float *restrict x, long n, float *restrict out)
{{
    vf acc[8];
    #pragma GCC unroll 8
    for (int i = 0; i < 8; i++) acc[i] = *(const vf *)x;
    for (long p = 0; p + 8 * {lanes} <= n; p += 8 * {lanes}) {{
        #pragma GCC unroll 8
        for (int i = 0; i < 8; i++) acc[i] += *(const vf *)(x + p + i * {lanes});
    }}
    for (int i = 1; i < 8; i++) acc[0] += acc[i];
    *(vf *)out = acc[0];
}}

void multiply_add_all(float *restrict out, int steps, int threads)
{{
    #pragma omp parallel for num_threads(threads)
    for (int t = 0; t < threads; t++) multiply_add(out + t * 64, steps);
}}

void read_parts(const float *restrict x, long n, float *restrict out, int threads)
{{
    const long part = n / threads / {lanes} * {lanes};
    #pragma omp parallel for num_threads(threads)
    for (int t = 0; t < threads; t++) read_all(x + part * t, part, out + t * 64);
}}
"""


def shortest(program: Callable[[], object]) -> float:
    """Seconds per call of the fastest of many turns of a few milliseconds: a limit is what was seen once."""
    program()
    start = time.perf_counter()
    program()
    calls = max(1, int(0.005 / (time.perf_counter() - start)))
    turns = []
    for _ in range(20):
        start = time.perf_counter()
        for _ in range(calls):
            program()
        turns.append((time.perf_counter() - start) / calls)
    return min(turns)


class Limits:
    """The machine's limits for a number of threads.

    gflops: 10⁹ float32 operations per second, a multiply-add being two.
    """

    def __init__(self, threads: int) -> None:
        """Build the loops and measure the multiply-adds."""
        self.threads = threads
        width = find_compiler().vector_bytes
        source = _SOURCE.format(bytes=width, lanes=width // 4, count=ACCUMULATORS)
        self._ffi = cffi.FFI()
        self._ffi.cdef("void multiply_add_all(float *, int, int); void read_parts(const float *, long, float *, int);")
        self._library = self._ffi.dlopen(str(build_library(source)), getattr(self._ffi, "RTLD_NODELETE", 0))
        self._out = aligned_empty((64 * max(threads, 1),), "float32")
        self._out[:] = 1.0
        seconds = shortest(self._multiply_add)
        self.gflops = 2e-9 * threads * ACCUMULATORS * (width // 4) * STEPS / seconds

    def _multiply_add(self) -> None:
        self._library.multiply_add_all(self._pointer(self._out), STEPS, self.threads)

    def _pointer(self, array: np.ndarray) -> object:
        return self._ffi.cast("float *", array.ctypes.data)

    def gigabytes(self, size: int) -> float:
        """10⁹ bytes per second when an array of `size` bytes is read again and again."""
        array = aligned_empty((max(1024, size // 4),), "float32")
        array[:] = 1.0

        source, target = self._pointer(array), self._pointer(self._out)

        def read() -> None:
            self._library.read_parts(source, array.size, target, self.threads)

        return array.nbytes / shortest(read) / 1e9
