"""Reads CUDA text: which kernels it has, with the names of their parameters, and what a C++ compiler needs changed.

The text keeps its lines, so that a report's line is the kernel's.

>>> kernels_in("extern \\"C\\" __global__ void __launch_bounds__(64) scale(const float* x, float* y, int n) {}")
(KernelText(name='scale', parameters=('x', 'y', 'n'), threads=64),)
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

# Between `__global__` and a kernel's name there may be these, with arguments in parentheses.
_ATTRIBUTES = {"__launch_bounds__", "__attribute__", "__cluster_dims__", "__align__", "alignas"}
_COMMENT_OR_TEXT = re.compile(r"//[^\n]*|/\*.*?\*/|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'", re.DOTALL)
_DYNAMIC = re.compile(
    r"extern\s+__shared__\s+((?:(?:__align__|alignas|__attribute__)\s*\([^;]*?\)+\s+)?)([\w:\s]+?)\s*\b(\w+)\s*\[\s*\]\s*;"
)
_LINKAGE = re.compile(r"(extern\s+\"C\"|static|inline)\s+(?=__global__\b)")
# A launch in the host part of a file; that part is built, but never runs.
_LAUNCH = re.compile(r"<<<.*?>>>", re.DOTALL)
_SMALL_TYPES = (
    (1, r"\b(char|uchar\d?|char\d|bool|u?int8_t|byte)\b"),
    (2, r"\b(__)?(nv_)?(half|bfloat16|short|ushort)2?\b"),
)


@dataclass(frozen=True)
class KernelText:
    """A kernel as its text declares it.

    threads: the literal of its `__launch_bounds__`, the most threads a block may have; None when it says nothing.
    """

    name: str
    parameters: tuple[str, ...]
    threads: int | None = None


def without_comments(text: str) -> str:
    """The text with comments and literals blanked; every character keeps its place.

    >>> without_comments('int a; // b')
    'int a;     '
    """
    return _COMMENT_OR_TEXT.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), text)


def kernels_in(text: str, *, templates: bool = False) -> tuple[KernelText, ...]:
    """The kernels a text defines, in order; `templates` too or not: a caller names their instances."""
    plain = without_comments(text)
    kernels: dict[str, KernelText] = {}
    for found in re.finditer(r"\b__global__\b", plain):
        if not templates and re.search(r"template\s*<[^;{}()]*>\s*(?:static\s+|inline\s+)*$", plain[: found.start()]):
            continue
        kernel = _declaration(plain, found.end())
        if kernel is not None:
            kernels[kernel.name] = kernel
    return tuple(kernels.values())


def _declaration(plain: str, start: int) -> KernelText | None:
    """The kernel whose `__global__` ends at `start`; None for what is no declaration of a function."""
    threads, place = None, start
    for _ in range(16):
        found = re.compile(r"\s*(?:[\w:]+[\s*&]+)*?(\w+)\s*\(").match(plain, place)
        if found is None:
            return None
        end = _closing(plain, found.end())
        inside = plain[found.end() : end - 1]
        if found[1] not in _ATTRIBUTES:
            return KernelText(found[1], tuple(_parameter_names(inside)), threads)
        if found[1] == "__launch_bounds__":
            first = inside.split(",")[0].strip()
            threads = int(first) if first.isdigit() else None
        place = end
    return None


def _closing(plain: str, start: int) -> int:
    depth = 1
    for place in range(start, len(plain)):
        depth += {"(": 1, ")": -1}.get(plain[place], 0)
        if depth == 0:
            return place + 1
    return len(plain)


def _parameter_names(inside: str) -> Iterator[str]:
    for number, part in enumerate(_split(inside)):
        names = re.findall(r"\w+", re.sub(r"\[.*\]|=.*", "", part))
        if names and names != ["void"]:
            yield names[-1] if len(names) > 1 else f"argument_{number}"


def _split(inside: str) -> list[str]:
    """Split at commas that stand in no brackets."""
    parts, depth = [""], 0
    for letter in inside:
        depth += {"(": 1, "<": 1, "[": 1, ")": -1, ">": -1, "]": -1}.get(letter, 0)
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


def for_cpu(text: str, instances: tuple[str, ...] = ()) -> str:
    """The text a C++ compiler builds: lines as they were, then a table of the kernels.

    Args: instances: templates' instances to offer, as `scale<float, 4>`.
    """
    text = _LINKAGE.sub(lambda found: " " * len(found[0]), text)
    text = _LAUNCH.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), text)
    # The memory of a dynamic shared array is the engine's.
    text = _DYNAMIC.sub(lambda found: f"{found[2]}* {found[3]} = ({found[2]}*)cuda_on_cpu_dynamic_shared();", text)
    names = [kernel.name for kernel in kernels_in(text)]
    entries = [f'CUDA_ON_CPU_KERNEL("{name}", {name}),' for name in (*names, *instances)]
    return "\n".join(
        (
            text,
            '#line 1 "kernels"',
            f'extern "C" const CudaOnCpuKernel cuda_on_cpu_table[] = {{{" ".join(entries)} {{}}}};',
            f'extern "C" const int cuda_on_cpu_table_size = {len(entries)};',
            f'extern "C" const unsigned cuda_on_cpu_granule = {granule(text)};',
            "",
        )
    )


def granule(text: str) -> int:
    """The size in bytes of the smallest type that a text names: what the checks must tell apart.

    >>> granule("__shared__ float a[8];"), granule("half b;"), granule("unsigned char c;")
    (4, 2, 1)
    """
    plain = without_comments(text)
    return next((size for size, names in _SMALL_TYPES if re.search(names, plain)), 4)
