"""The device functions that emitted CUDA leans on: each is printed once, and only when the text uses it."""

from __future__ import annotations

import re

from runtime.c_text.expressions import SHORT
from runtime.cuda_text.expressions import CUDA_TYPES

_KINDS = {short: CUDA_TYPES[dtype] for dtype, short in SHORT.items()}
_CALL = re.compile(r"\b([a-z]+(?:_[a-z]+)?)_([fib]\d+)\(")
_OPERATIONS = {"add": "a + b", "mul": "a * b", "min": "a < b ? a : b", "max": "a > b ? a : b"}


def prelude(body: str) -> str:
    """The helpers that a text calls as `name_type(`, each before its users.

    >>> print(prelude("x = min_i32(a, b);"))
    __device__ __forceinline__ int min_i32(int a, int b) { return a < b ? a : b; }
    <BLANKLINE>
    """
    found = sorted({pair for pair in _CALL.findall(body) if pair[1] in _KINDS})
    helpers = [helper(name, short) for name, short in found]
    return "".join(f"{text}\n" for text in helpers if text is not None)


def helper(name: str, short: str) -> str | None:
    """The definition of `name_short`, or None when there is no such helper."""
    kind, is_float = _KINDS[short], short.startswith("f")
    suffix = "f" if short == "f32" else ""
    head = f"__device__ __forceinline__ {kind} {name}_{short}("
    if name.startswith("warp_"):
        return _warp(name.removeprefix("warp_"), short)
    if name in ("min", "max"):
        return f"{head}{kind} a, {kind} b) {{ return a {'<' if name == 'min' else '>'} b ? a : b; }}"
    if name == "floordiv":
        body = f"floor{suffix}(a / b)" if is_float else "a / b - (a % b != 0 && (a < 0) != (b < 0) ? 1 : 0)"
        return f"{head}{kind} a, {kind} b) {{ return {body}; }}"
    if name == "floormod":
        rest = f"fmod{suffix}(a, b)" if is_float else "a % b"
        body = f"const {kind} r = {rest}; return r != 0 && (r < 0) != (b < 0) ? r + b : r;"
        return f"{head}{kind} a, {kind} b) {{ {body} }}"
    if name == "abs":
        return f"{head}{kind} a) {{ return {f'fabs{suffix}(a)' if is_float else 'a < 0 ? -a : a'}; }}"
    if name == "sigmoid" and is_float:
        unit = "1.0f" if suffix else "1.0"
        return f"{head}{kind} a) {{ return {unit} / ({unit} + exp{suffix}(-a)); }}"
    return None


def _warp(operation: str, short: str) -> str:
    """All lanes receive the combination of the values of all lanes, in an order that is always the same."""
    kind = _KINDS[short]
    combined = _OPERATIONS[operation]
    if short.startswith("f") and operation in ("min", "max"):
        combined = f"f{operation}{'f' if short == 'f32' else ''}(a, b)"
    return "\n".join(
        (
            f"__device__ __forceinline__ {kind} warp_{operation}_{short}({kind} a) {{",
            "#pragma unroll",
            "    for (int distance = 16; distance > 0; distance /= 2) {",
            f"        const {kind} b = __shfl_xor_sync(0xffffffffu, a, distance);",
            f"        a = {combined};",
            "    }",
            "    return a;",
            "}",
        )
    )
