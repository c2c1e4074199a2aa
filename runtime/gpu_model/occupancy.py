"""How many blocks of a kernel one multiprocessor holds at a time, and what keeps a kernel from being launched at all.

The rules of NVIDIA's occupancy calculator: the least of what blocks, threads, registers and shared memory allow.
Registers are given to warps in pieces of 256, one quarter of the file to each of four schedulers; shared memory in
pieces of 128 bytes, with 1 KiB of each block's for the system since sm_80.
"""

from __future__ import annotations

from runtime.gpu import Gpu

SCHEDULERS = 4
REGISTER_UNIT = 256  # registers of a warp are rounded up to it
SHARED_UNIT = 128  # bytes of a block are rounded up to it
SYSTEM_SHARED = 1024  # bytes of every block that the system keeps


def resident_blocks(gpu: Gpu, threads: int, registers: int, shared: int) -> int:
    """Blocks of `threads` threads that one multiprocessor runs at a time; 0: not one fits.

    registers: of a thread. shared: bytes of a block.

    >>> from runtime.gpu import gpu
    >>> [resident_blocks(gpu("h100"), *kernel) for kernel in ((256, 128, 8192), (1024, 33, 0), (32, 16, 0))]
    [2, 1, 32]
    """
    warps = -(-threads // gpu.warp)
    of_warp = -(-registers * gpu.warp // REGISTER_UNIT) * REGISTER_UNIT
    file = gpu.registers_per_multiprocessor // SCHEDULERS
    of_block = -(-shared // SHARED_UNIT) * SHARED_UNIT + SYSTEM_SHARED
    return min(
        gpu.blocks_per_multiprocessor,
        gpu.threads_per_multiprocessor // (warps * gpu.warp),
        SCHEDULERS * (file // max(1, of_warp)) // warps,
        gpu.shared_per_multiprocessor // of_block,
    )


def infeasible(gpu: Gpu, threads: int, registers: int, shared: int, *, dynamic: bool = False) -> str:
    """Why such a kernel cannot be launched; empty when it can.

    dynamic: its shared memory is asked for at the launch, when there may be more of it.

    >>> from runtime.gpu import gpu
    >>> infeasible(gpu("h100"), 2048, 32, 0)
    'more than 1024 threads a block'
    """
    if threads > gpu.threads_per_block:
        return f"more than {gpu.threads_per_block} threads a block"
    most = gpu.shared_per_block_optin if dynamic else gpu.shared_per_block
    if shared > most:
        return f"more than {most} bytes of shared memory a block"
    if not resident_blocks(gpu, threads, registers, shared):
        return "too many registers for a multiprocessor"
    return ""
