"""Floats of 16 bits in NumPy arrays.

float16 is NumPy's own. bfloat16, the upper half of a float32, has no NumPy dtype: arrays hold its bits as uint16, and a
single value is a float32 whose lower half is zero. Both only carry operands: programs cast them to float32 to compute.

tf32, float32 rounded to ten bits of fraction, is what Tensor Cores make of float32 operands; it has no arrays of its
own.
"""

from __future__ import annotations

import numpy as np


def storage(dtype: str) -> np.dtype:
    """The NumPy dtype of arrays of a dtype.

    >>> storage("float16"), storage("bfloat16")
    (dtype('float16'), dtype('uint16'))
    """
    return np.dtype("uint16" if dtype == "bfloat16" else dtype)


def to_bfloat16(values: np.ndarray) -> np.ndarray:
    """The bits of the nearest bfloat16, ties to even; NaN stays NaN. uint16, the shape of `values`.

    >>> to_bfloat16(np.float32([1, -2.5, 1.00390625])).tolist() == [0x3F80, 0xC020, 0x3F80]
    True
    """
    values = np.asarray(values, np.float32)
    bits = values.view(np.uint32)
    rounded = (bits + (np.uint32(0x7FFF) + (bits >> np.uint32(16) & np.uint32(1)))) >> np.uint32(16)
    return np.where(np.isnan(values), bits >> np.uint32(16) | np.uint32(0x40), rounded).astype(np.uint16)


def from_bfloat16(bits: np.ndarray) -> np.ndarray:
    """The values as float32.

    >>> from_bfloat16(to_bfloat16(np.float32([0.5, 3.0]))).tolist()
    [0.5, 3.0]
    """
    return (np.asarray(bits, np.uint16).astype(np.uint32) << np.uint32(16)).view(np.float32)


def to_tf32(values: np.ndarray) -> np.ndarray:
    """float32 rounded to the nearest number with ten bits of fraction, ties away from zero.

    >>> to_tf32(np.float32([1.0, 1 + 2**-11])).tolist() == [1.0, 1 + 2**-10]
    True
    """
    bits = np.asarray(values, np.float32).view(np.uint32)
    return ((bits + np.uint32(0x1000)) & np.uint32(0xFFFFE000)).view(np.float32)


def pack(values: np.ndarray, dtype: str) -> np.ndarray:
    """Numbers as an array of a dtype's storage."""
    return to_bfloat16(np.asarray(values, np.float32)) if dtype == "bfloat16" else np.asarray(values).astype(dtype)


def unpack(array: np.ndarray, dtype: str) -> np.ndarray:
    """The numbers that an array of a dtype's storage holds."""
    return from_bfloat16(array) if dtype == "bfloat16" else array
