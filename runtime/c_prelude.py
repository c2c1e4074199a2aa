"""The helpers that emitted C leans on: each is printed once per translation unit, and only when used.

A helper is found by its name in the text that uses it, so a kernel's text says by itself what it needs.
"""

from __future__ import annotations

import re

HEADERS = "#include <math.h>\n#include <stdint.h>\n"
_C_TYPES = {"f32": "float", "f64": "double", "i32": "int32_t", "i64": "int64_t", "b8": "_Bool"}


def _scalar_helper(name: str, short: str) -> str | None:
    """The definition of `name_short`, or None when there is no such helper."""
    kind, suffix = _C_TYPES[short], "f" if short == "f32" else ""
    is_float = short.startswith("f")
    two = f"static inline {kind} {name}_{short}({kind} a, {kind} b) {{ "
    one = f"static inline {kind} {name}_{short}({kind} a) {{ "
    if name in ("min", "max"):
        return f"{two}return a {'<' if name == 'min' else '>'} b ? a : b; }}"
    if name == "floordiv":
        return two + (
            f"return floor{suffix}(a / b); }}" if is_float else "return a / b - (a % b != 0 && (a < 0) != (b < 0)); }"
        )
    if name == "floormod":
        rest = f"fmod{suffix}(a, b)" if is_float else "a % b"
        return f"{two}{kind} r = {rest}; return r != 0 && (r < 0) != (b < 0) ? r + b : r; }}"
    if name == "abs":
        return f"{one}return {f'fabs{suffix}(a)' if is_float else 'a < 0 ? -a : a'}; }}"
    if name == "sigmoid" and is_float:
        unit = "1.0f" if suffix else "1.0"
        return f"{one}return {unit} / ({unit} + exp{suffix}(-a)); }}"
    return None


def prelude(body: str) -> str:
    """Headers and helpers that the C text `body` uses."""
    parts = [HEADERS]
    for name, short in sorted(set(re.findall(r"\b([a-z]+)_([fib]\d+)\b", body))):
        helper = _scalar_helper(name, short) if short in _C_TYPES else None
        if helper is not None:
            parts.append(helper + "\n")
    return "".join(parts)
