"""Arguments of a kernel as words on a command line.

    float:1024            an array of 1024 floats: small random integers where the kernel only reads, else zeros
    float:64x64=ones      filled with zeros, ones, range (0, 1, 2 ...), random, or a number
    float:1024=unwritten  reading an element before the kernel has written it is a mistake
    int=1024              one number
    weights.npy           an array from a file

Types: char, uchar, short, ushort, int, uint, long, ulong, half, float, double, bool.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from runtime.cuda_on_cpu.placed import SCALARS

TYPES = {
    "bool": "bool",
    "char": "int8",
    "uchar": "uint8",
    "short": "int16",
    "ushort": "uint16",
    "int": "int32",
    "uint": "uint32",
    "long": "int64",
    "ulong": "uint64",
    "half": "float16",
    "float": "float32",
    "double": "float64",
}
FILLS = ("zeros", "ones", "range", "random", "unwritten")
RANDOM = (-3, 4)  # small integers: their sums are exact in any order


@dataclass(frozen=True)
class GivenArgument:
    """An argument that was given: an array or a number, and whether its elements count as not yet written."""

    value: np.ndarray | np.generic
    unwritten: bool = False


def read_argument(text: str, parameter: Any, name: str, rng: np.random.Generator) -> GivenArgument:
    """The argument that a word stands for.

    Args: parameter: the engine's description of the parameter `name`.
    Raises: ValueError: the word is none of the forms above, or does not fit the parameter.

    >>> from types import SimpleNamespace
    >>> read_argument("int=7", SimpleNamespace(pointer=0, type=b"i", size=4), "n", np.random.default_rng(0)).value
    np.int32(7)
    """
    if text.endswith(".npy"):
        given = GivenArgument(_from_file(text, name))
    else:
        found = re.fullmatch(r"(\w+)(?::(\d+(?:x\d+)*))?(?:=(.+))?", text)
        if found is None or found[1] not in TYPES or not (found[2] or found[3]):
            raise ValueError(
                f"--arg {text}: write TYPE:SIZE, TYPE:SIZE=FILL, TYPE=NUMBER or FILE.npy;"
                f" TYPE is one of {', '.join(TYPES)}"
            )
        dtype = TYPES[found[1]]
        if found[2]:
            shape = tuple(int(size) for size in found[2].split("x"))
            fill = found[3] or ("random" if parameter.pointer == 2 else "zeros")
            given = GivenArgument(_filled(shape, dtype, fill, text, rng), fill == "unwritten")
        else:
            given = GivenArgument(np.array(_number(found[3], text)).astype(dtype)[()])
    _check(given.value, parameter, name, text)
    return given


def _from_file(text: str, name: str) -> np.ndarray:
    if not Path(text).is_file():
        raise ValueError(f"--arg {text}: there is no such file for `{name}`")
    try:
        return np.ascontiguousarray(np.load(text, allow_pickle=False))
    except (ValueError, EOFError):
        raise ValueError(f"--arg {text}: not a NumPy .npy file") from None


def _number(text: str, word: str) -> int | float:
    try:
        return int(text, 0) if re.fullmatch(r"[+-]?(0x[0-9a-fA-F]+|\d+)", text) else float(text)
    except ValueError:
        raise ValueError(f"--arg {word}: {text} is no number") from None


def _filled(shape: tuple[int, ...], dtype: str, fill: str, word: str, rng: np.random.Generator) -> np.ndarray:
    if fill == "random":
        low = 0 if dtype == "bool" or dtype.startswith("u") else RANDOM[0]
        return rng.integers(low, RANDOM[1], shape).astype(dtype)
    if fill == "range":
        return np.arange(np.prod(shape)).astype(dtype).reshape(shape)
    if fill == "unwritten":
        array = np.empty(shape, dtype)
        array.reshape(-1).view(np.uint8).fill(0xFF if dtype != "bool" else 1)
        return array
    if fill not in FILLS and not re.match(r"[+-]?[\d.]", fill):
        raise ValueError(f"--arg {word}: fill with {', '.join(FILLS)} or a number, not {fill}")
    return np.full(shape, {"zeros": 0, "ones": 1}.get(fill) if fill in FILLS else _number(fill, word)).astype(dtype)


def _check(value: np.ndarray | np.generic, parameter: Any, name: str, text: str) -> None:
    """The parameter is a pointer exactly when the argument is an array, and the element types agree."""
    is_array = isinstance(value, np.ndarray)
    if bool(parameter.pointer) != is_array:
        wanted = (
            "a pointer: give an array, as float:1024" if parameter.pointer else "a value: give a number, as int=1024"
        )
        raise ValueError(f"--arg {text}: `{name}` is {wanted}")
    dtype = SCALARS.get((parameter.type.decode(), parameter.size))
    same = dtype is None or value.dtype == np.dtype(dtype) or not is_array
    if not same:
        raise ValueError(f"--arg {text}: `{name}` points to {dtype}, not {value.dtype}")


def example_words(parameters: Sequence[tuple[str, Any]]) -> str:
    """Flags that would fit a kernel, to be copied and changed.

    >>> from types import SimpleNamespace
    >>> x, n = SimpleNamespace(pointer=2, type=b"f", size=4), SimpleNamespace(pointer=0, type=b"i", size=4)
    >>> example_words([("x", x), ("n", n)])
    '--arg float:1024 --arg int=1024'
    """
    names = {dtype: word for word, dtype in TYPES.items()}
    words = []
    for _, parameter in parameters:
        word = names.get(SCALARS.get((parameter.type.decode(), parameter.size), "float32"), "float")
        words.append(f"--arg {word}:1024" if parameter.pointer else f"--arg {word}=1024")
    return " ".join(words)
