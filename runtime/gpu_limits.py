"""Whether a kernel can be launched on a GPU: what a compiler does not check and a launch refuses.

Paper: Ansor §4.2
"""

from __future__ import annotations

from runtime.compile_cuda import Resources
from runtime.gpu import Gpu

LARGEST_GRID = (1 << 31) - 1
REGISTER_UNIT = 256  # registers are given to a warp in such pieces


def launch_problem(gpu: Gpu, grid: int, block: int, resources: Resources, dynamic_shared: int = 0) -> str:
    """Why a launch of so many blocks of so many threads fails; empty when it does not.

    >>> from runtime.gpu import gpu
    >>> launch_problem(gpu("h100"), 1, 1024, Resources(registers=80))
    '80 registers x 1024 threads need 81920 registers, a multiprocessor has 65536'
    >>> launch_problem(gpu("h100"), 1, 256, Resources(registers=80))
    ''
    """
    if not 1 <= block <= gpu.threads_per_block:
        return f"{block} threads in a block, from 1 to {gpu.threads_per_block} are possible"
    if not 1 <= grid <= LARGEST_GRID:
        return f"{grid} blocks, from 1 to {LARGEST_GRID} are possible"
    warps = -(-block // gpu.warp)
    needed = warps * -(-resources.registers * gpu.warp // REGISTER_UNIT) * REGISTER_UNIT
    if needed > gpu.registers_per_multiprocessor:
        return (
            f"{resources.registers} registers x {block} threads need {needed} registers, "
            f"a multiprocessor has {gpu.registers_per_multiprocessor}"
        )
    if resources.shared > gpu.shared_per_block:
        return f"{resources.shared} bytes of static shared memory, a block may have {gpu.shared_per_block}"
    if resources.shared + dynamic_shared > gpu.shared_per_block_optin:
        shared = resources.shared + dynamic_shared
        return f"{shared} bytes of shared memory, a block may have {gpu.shared_per_block_optin}"
    return ""
