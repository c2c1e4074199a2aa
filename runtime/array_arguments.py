"""Arrays that callers hand in and get filled: checked, and used where they are when C can use them there.

Anything with the buffer protocol or DLPack will do (NumPy, PyTorch, JAX, `array.array`, `memoryview`). C wants elements
in row-major order from a 64-byte boundary on; other inputs are copied to such a place, other outputs filled from one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from runtime.compile_c import ALIGNMENT, aligned_empty
from runtime.graph import TensorType


def as_array(what: str, value: object) -> np.ndarray:
    """The memory of an array of any library as a NumPy array.

    Raises: TypeError: it is no array, or one whose memory cannot be had.

    >>> import array
    >>> as_array("x", array.array("f", [1, 2])).dtype
    dtype('float32')
    """
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{what} is a masked array; fill its gaps first")
    if isinstance(value, np.ndarray):
        return value
    if hasattr(value, "__dlpack__"):
        try:
            return np.from_dlpack(value)
        except (BufferError, RuntimeError, TypeError, ValueError) as error:
            raise TypeError(f"{what} cannot be read through DLPack: {error}") from None
    try:
        return np.asarray(memoryview(value))  # type: ignore[arg-type]
    except (TypeError, ValueError, NotImplementedError):
        kind = type(value).__name__
        raise TypeError(
            f"{what} must be an array with the buffer protocol or DLPack (a NumPy array, say), got {kind}"
        ) from None


def in_place(array: np.ndarray) -> bool:
    """Whether C can use an array where it is."""
    return array.flags.c_contiguous and array.ctypes.data % ALIGNMENT == 0


def check_type(what: str, array: np.ndarray, wanted: TensorType) -> None:
    """Refuse another shape or dtype.  Raises: ValueError."""
    if array.shape != wanted.shape or array.dtype != np.dtype(wanted.dtype):
        raise ValueError(f"{what} must be {wanted}, got {array.dtype}[{', '.join(map(str, array.shape))}]")


def inputs_of(network: str, kinds: Mapping[str, TensorType], feeds: Mapping[str, object]) -> list[np.ndarray]:
    """The inputs in declared order, not yet moved.

    Raises: ValueError, TypeError: one is missing, unknown, or not as declared.
    """
    unknown = [name for name in feeds if name not in kinds]
    if unknown:
        raise ValueError(f"{network} has no input {unknown[0]!r}; it has {', '.join(kinds) or 'none'}")
    arrays = []
    for name, kind in kinds.items():
        if name not in feeds:
            raise ValueError(f"{network} needs input {name!r}, {kind}")
        array = as_array(f"input {name!r}", feeds[name])
        check_type(f"input {name!r}", array, kind)
        arrays.append(array)
    return arrays


def outputs_of(kinds: Mapping[str, TensorType], targets: Sequence[object]) -> list[np.ndarray]:
    """The arrays to be filled, one per declared output; None stands for a new one.

    Raises: ValueError, TypeError: one is not as declared, cannot be written, or overlaps another.
    """
    arrays: list[np.ndarray] = []
    for (name, kind), target in zip(kinds.items(), targets):
        what = f"out for {name!r}"
        array = aligned_empty(kind.shape, kind.dtype) if target is None else as_array(what, target)
        check_type(what, array, kind)
        if not array.flags.writeable:
            raise ValueError(f"{what} is read-only")
        if not array.flags.c_contiguous:
            raise ValueError(f"{what} must be C-contiguous, got strides {array.strides}")
        if any(np.may_share_memory(array, other) for other in arrays):
            raise ValueError(f"{what} overlaps the array of another output")
        arrays.append(array)
    return arrays


def ready_to_read(array: np.ndarray, written: Sequence[np.ndarray] = ()) -> np.ndarray:
    """The array itself, or a copy where C can use it: when it lies elsewhere, or overlaps what will be written."""
    if in_place(array) and not any(np.may_share_memory(array, other) for other in written):
        return array
    copy = aligned_empty(array.shape, str(array.dtype))
    copy[...] = array
    return copy


def ready_to_write(array: np.ndarray) -> np.ndarray:
    """The array itself, or memory of its size where C can use it."""
    return array if in_place(array) else aligned_empty(array.shape, str(array.dtype))
