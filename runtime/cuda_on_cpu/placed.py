"""Arrays in the memory of a launch: each far from the others, aligned as a GPU's allocator aligns."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any

import cffi
import numpy as np

# (code of the engine, bytes) → NumPy's names for values passed by value.
SCALARS = {
    **{("i", size): f"int{8 * size}" for size in (1, 2, 4, 8)},
    **{("u", size): f"uint{8 * size}" for size in (1, 2, 4, 8)},
    **{("f", 4): "float32", ("f", 8): "float64", ("b", 1): "bool", ("h", 2): "float16"},
}
ALIGNED = 16  # bytes to which values passed by value are aligned


class PlacedArrays:
    """Copies of arrays where an index that runs out of one meets no other; a context manager."""

    def __init__(
        self,
        ffi: cffi.FFI,
        library: Any,
        arrays: Mapping[int, np.ndarray],
        marks: Mapping[int, np.ndarray],
        granule: int,
    ) -> None:
        self._ffi, self._library, self._arrays, self._marks = ffi, library, dict(arrays), dict(marks)
        self._granule = granule
        self._room: list[Any] = []
        sizes = [array.nbytes for array in self._arrays.values()]
        sizes += [mark.nbytes for mark in self._marks.values()]
        places, reserved = ffi.new("void *[]", len(sizes) + 1), ffi.new("size_t *")
        self._area = library.cuda_on_cpu_reserve(len(sizes), ffi.new("size_t[]", [*sizes, 0]), places, reserved)
        if self._area == ffi.NULL:
            raise MemoryError(f"no memory for arrays of {sum(sizes)} bytes")
        self._reserved = reserved[0]
        self._place = dict(zip(self._arrays, places[0 : len(self._arrays)]))
        self._mark_place = dict(zip(self._marks, places[len(self._arrays) : len(sizes)]))
        for key, array in self._arrays.items():
            self._copy(self._place[key], array)
        for key, mark in self._marks.items():
            self._copy(self._mark_place[key], mark)

    def _copy(self, place: Any, array: np.ndarray, *, back: bool = False) -> None:
        if array.nbytes:
            data = self._ffi.from_buffer(array)
            self._ffi.memmove(*((data, place) if back else (place, data)), array.nbytes)

    def keep(self, *room: Any) -> None:
        """Keep memory that the launch points to for as long as the arrays."""
        self._room += room

    def describe(self, launch: Any, constant: Mapping[int, bool]) -> None:
        """Tell the launch of all arrays; `constant` says of each whether it is only read."""
        buffers = self._ffi.new("CudaOnCpuBuffer[]", max(1, len(self._arrays)))
        for number, (key, array) in enumerate(self._arrays.items()):
            buffer = buffers[number]
            buffer.begin, buffer.bytes = self._place[key], array.nbytes
            buffer.granule = min(4, array.itemsize) if key in self._marks else min(4, array.itemsize, self._granule)
            buffer.constant = constant.get(key, False)
            buffer.initialised = self._mark_place.get(key, self._ffi.NULL)
        self._room.append(buffers)
        launch.buffers, launch.buffer = len(self._arrays), buffers

    def argument(self, parameter: Any, value: Any) -> Any:
        """A pointer to the argument, as a launch takes it.

        Raises: TypeError: a value that the parameter cannot hold.
        """
        if parameter.pointer:
            room = self._ffi.new("void **", self._place[id(value)])
        else:
            data = _bytes_of(parameter, value)
            room = self._ffi.new("char[]", len(data) + ALIGNED)
            start = room + -int(self._ffi.cast("uintptr_t", room)) % ALIGNED
            self._ffi.memmove(start, data, len(data))
            self._room.append(room)
            return self._ffi.cast("void *", start)
        self._room.append(room)
        return self._ffi.cast("void *", room)

    def copy_back(self, constant: Mapping[int, bool]) -> None:
        """Bring what the kernel may have written back into the caller's arrays."""
        for key, array in self._arrays.items():
            if not constant.get(key, True):
                self._copy(self._place[key], array, back=True)
        for key, mark in self._marks.items():
            self._copy(self._mark_place[key], mark, back=True)

    def __enter__(self) -> PlacedArrays:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._library.cuda_on_cpu_release(self._area, self._reserved)


def _bytes_of(parameter: Any, value: Any) -> bytes:
    """A number or structure as the parameter's type holds it."""
    dtype = SCALARS.get((parameter.type.decode(), parameter.size))
    if dtype is None:
        data = value if isinstance(value, bytes) else value.tobytes() if isinstance(value, np.void) else b""
        if len(data) != parameter.size:
            raise TypeError(f"a structure of {parameter.size} bytes must be a NumPy record or bytes, got {value!r}")
        return data
    given = np.array(value)
    if given.shape or given.dtype.kind not in "biuf" or (given.dtype.kind == "f" and np.dtype(dtype).kind in "iu"):
        raise TypeError(f"a parameter of type {dtype} must be such a number, got {value!r}")
    return given.astype(dtype).tobytes()
