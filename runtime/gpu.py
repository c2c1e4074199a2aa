"""The GPUs that programs are compiled for: what a schedule, the emitter's limits and the model may depend on.

`GPUS` lists them by a short name, `gpu("h100")` finds one; nothing here asks the system. The rates are those of a
stated clock, as a data sheet or a published microbenchmark has them, and serve the model alone. A `Gpu` has what the
rules of a search ask of a `Machine` (`cores`, `lanes`, `line`) and can stand in its place.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from runtime.expr import ITEM_SIZE
from runtime.machine import size_text

KIB, MIB = 1 << 10, 1 << 20


@dataclass(frozen=True)
class Gpu:
    """One GPU: sizes in bytes, rates per second; shared_per_block is what a kernel may declare statically.

    flops: single precision, a fused multiply-add counted as two.  tensor_flops: half precision with single-precision
    accumulation on the Tensor Cores, dense.  memory and l2 rates: what copies reach, not the data sheet's figures.
    """

    name: str
    arch: str = "sm_90"
    multiprocessors: int = 132
    warp: int = 32
    threads_per_block: int = 1024
    threads_per_multiprocessor: int = 2048
    blocks_per_multiprocessor: int = 32
    shared_per_block: int = 48 * KIB
    shared_per_block_optin: int = 227 * KIB
    shared_per_multiprocessor: int = 228 * KIB
    registers_per_multiprocessor: int = 65536
    registers_per_thread: int = 255
    max_vthread: int = 8
    vector_bytes: int = 16
    l2_bytes: int = 50 * MIB
    clock_hz: float = 1.98e9
    memory_bytes_per_second: float = 3.0e12
    l2_bytes_per_second: float = 3.6e12
    flops: float = 66.9e12
    tensor_flops: float = 989e12
    memory_bytes: int = 80 << 30

    @property
    def cores(self) -> int:
        """What a rule for parallel loops counts: multiprocessors."""
        return self.multiprocessors

    @property
    def lanes(self) -> int:
        """float32 elements in the widest load or store of one thread."""
        return self.lanes_of("float32")

    def lanes_of(self, dtype: str) -> int:
        """Elements of `dtype` in the widest load or store of one thread."""
        return self.vector_bytes // ITEM_SIZE[dtype]

    @property
    def cache_line(self) -> int:
        """Bytes of a cache line; a request moves 32-byte quarters of it."""
        return 128

    @property
    def line(self) -> str:
        """One line for reports and records.

        >>> gpu("h100").line
        'NVIDIA H100 80GB HBM3, sm_90, 132 multiprocessors, shared 48 KiB a block, 228 KiB a multiprocessor, L2 50 MiB'
        """
        shared = f"shared {size_text(self.shared_per_block)} a block"
        whole = f"{size_text(self.shared_per_multiprocessor)} a multiprocessor, L2 {size_text(self.l2_bytes)}"
        return f"{self.name}, {self.arch}, {self.multiprocessors} multiprocessors, {shared}, {whole}"

    @property
    def capability(self) -> tuple[int, int]:
        """Compute capability, major and minor.

        >>> gpu("a100").capability
        (8, 0)
        """
        digits = self.arch.removeprefix("sm_")
        return int(digits[:-1]), int(digits[-1])

    def as_dict(self) -> dict[str, Any]:
        """The fields, for JSON."""
        return asdict(self)


H100 = Gpu("NVIDIA H100 80GB HBM3")

# Short name → GPU. Capability tables: CUDA C++ Programming Guide, "Technical Specifications per Compute Capability".
GPUS: dict[str, Gpu] = {
    "h100": H100,
    "h100-pcie": Gpu(
        "NVIDIA H100 PCIe",
        multiprocessors=114,
        clock_hz=1.755e9,
        memory_bytes_per_second=1.8e12,
        l2_bytes_per_second=3.1e12,
        flops=51.2e12,
        tensor_flops=756e12,
    ),
    "h200": Gpu("NVIDIA H200", memory_bytes_per_second=4.3e12, memory_bytes=141 << 30),
    "a100": Gpu(
        "NVIDIA A100-SXM4-40GB",
        arch="sm_80",
        multiprocessors=108,
        shared_per_block_optin=163 * KIB,
        shared_per_multiprocessor=164 * KIB,
        l2_bytes=40 * MIB,
        clock_hz=1.41e9,
        memory_bytes_per_second=1.4e12,
        l2_bytes_per_second=2.7e12,
        flops=19.5e12,
        tensor_flops=312e12,
        memory_bytes=40 << 30,
    ),
    "a6000": Gpu(
        "NVIDIA RTX A6000",
        arch="sm_86",
        multiprocessors=84,
        threads_per_multiprocessor=1536,
        blocks_per_multiprocessor=16,
        shared_per_block_optin=99 * KIB,
        shared_per_multiprocessor=100 * KIB,
        l2_bytes=6 * MIB,
        clock_hz=1.8e9,
        memory_bytes_per_second=0.69e12,
        l2_bytes_per_second=2.0e12,
        flops=38.7e12,
        tensor_flops=154.8e12,
        memory_bytes=48 << 30,
    ),
    "rtx4090": Gpu(
        "NVIDIA GeForce RTX 4090",
        arch="sm_89",
        multiprocessors=128,
        threads_per_multiprocessor=1536,
        blocks_per_multiprocessor=24,
        shared_per_block_optin=99 * KIB,
        shared_per_multiprocessor=100 * KIB,
        l2_bytes=72 * MIB,
        clock_hz=2.52e9,
        memory_bytes_per_second=0.92e12,
        l2_bytes_per_second=4.0e12,
        flops=82.6e12,
        tensor_flops=165.2e12,
        memory_bytes=24 << 30,
    ),
    "t4": Gpu(
        "Tesla T4",
        arch="sm_75",
        multiprocessors=40,
        threads_per_multiprocessor=1024,
        blocks_per_multiprocessor=16,
        shared_per_block_optin=64 * KIB,
        shared_per_multiprocessor=64 * KIB,
        l2_bytes=4 * MIB,
        clock_hz=1.59e9,
        memory_bytes_per_second=0.25e12,
        l2_bytes_per_second=1.2e12,
        flops=8.1e12,
        tensor_flops=65e12,
        memory_bytes=16 << 30,
    ),
}


def gpu(name: str) -> Gpu:
    """The GPU of that short name, or whose full name it is.

    Raises: ValueError: there is none.

    >>> gpu("h100").multiprocessors, gpu("NVIDIA H200").arch
    (132, 'sm_90')
    """
    if name in GPUS:
        return GPUS[name]
    for known in GPUS.values():
        if known.name == name:
            return known
    raise ValueError(f"no GPU is called {name!r}; there are {', '.join(GPUS)}")
