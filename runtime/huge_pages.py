"""Large arrays on huge pages, where the operating system has them.

A network that reads all its weights once per inference touches a new page every 4 KiB; with pages of 2 MiB it is the
memory that limits it, not the translation of addresses. Linux gives huge pages when it happens to, unless it is asked.
"""

from __future__ import annotations

import ctypes
import sys

import numpy as np

PAGE = 2 << 20
# From <sys/mman.h>: use huge pages from now on; make what is there huge pages at once (Linux 6.1 and later).
MADV_HUGEPAGE, MADV_COLLAPSE = 14, 25


def ask_for_huge_pages(array: np.ndarray) -> bool:
    """Have the memory of a contiguous array put on huge pages, as far as it covers whole ones; contents stay.

    Returns whether the system has done so at once. Nothing is lost where it has not.
    """
    first = -(-array.ctypes.data // PAGE) * PAGE
    length = (array.ctypes.data + array.nbytes) // PAGE * PAGE - first
    if length <= 0 or not sys.platform.startswith("linux"):
        return False
    madvise = ctypes.CDLL(None).madvise
    madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    madvise(first, length, MADV_HUGEPAGE)
    return bool(madvise(first, length, MADV_COLLAPSE) == 0)
