"""The helpers that emitted C leans on: each is printed once per translation unit, and only when used.

A helper is found by its name in the text that uses it (`max_f32x16`, `exp_f32`), so a kernel's text says by itself what
it needs. A vector helper is a loop over its lanes where gcc and clang turn that into one instruction.
"""

from __future__ import annotations

import re

from runtime.c_text.lane_helpers import lanes_helper
from runtime.c_text.polynomials import POLYNOMIALS, polynomial

HEADERS = """#include <math.h>
#include <stdint.h>
"""
MACROS = {
    "UNROLL": """#ifdef __clang__
#define PRAGMA(text) _Pragma(#text)
#define UNROLL(count) PRAGMA(clang loop unroll_count(count))
#else
#define PRAGMA(text) _Pragma(#text)
#define UNROLL(count) PRAGMA(GCC unroll count)
#endif
""",
    "EACH_LANE": """#ifdef __clang__
#define EACH_LANE(count) for (int32_t lane = 0; lane < (count); lane++)
#else
#define EACH_LANE(count) _Pragma("GCC ivdep") for (int32_t lane = 0; lane < (count); lane++)
#endif
""",
}
# An empty instruction that needs its operand in a register: gcc then cannot fold the load into each use of it.
_KEEP = """#if defined(__{feature}__) && !defined(__clang__)
#define KEEP{width}(value) __asm__("" : "+v"(value))
#else
#define KEEP{width}(value)
#endif
"""
MACROS |= {
    f"KEEP{width}": _KEEP.format(feature=feature, width=width)
    for width, feature in ((16, "SSE2"), (32, "AVX"), (64, "AVX512F"))
}
_C_TYPES = {"f32": "float", "f64": "double", "i32": "int32_t", "i64": "int64_t", "b8": "_Bool"}
_C_TYPES |= {"f16": "uint16_t", "b16": "uint16_t"}
_BYTES = {"f32": 4, "f64": 8, "i32": 4, "i64": 8, "b8": 1, "f16": 2, "b16": 2}
# What a float of 16 bits is made from, and made into.
_NARROW = {
    "widen_f16": "float widen_f16(uint16_t a) { _Float16 h; __builtin_memcpy(&h, &a, 2); return (float)h; }",
    "narrow_f16": "uint16_t narrow_f16(float a) { _Float16 h = (_Float16)a; uint16_t r; __builtin_memcpy(&r, &h, 2); "
    "return r; }",
    "widen_b16": "float widen_b16(uint16_t a) { uint32_t b = (uint32_t)a << 16; float r; __builtin_memcpy(&r, &b, 4); "
    "return r; }",
    "narrow_b16": "uint16_t narrow_b16(float a) { uint32_t b; __builtin_memcpy(&b, &a, 4); "
    "return a != a ? 0x7fff : (uint16_t)((b + 0x7fff + (b >> 16 & 1)) >> 16); }",
}
_LIBM = ("exp", "log", "sqrt", "tanh", "erf", "floor", "ceil", "pow")
_CALL_BACKWARDS = re.compile(r"\(((?:\d+x)?\d+[fib])_([a-z]+)\b")
_VECTOR_TYPE = re.compile(r"([fib](?<![a-zA-Z0-9].)(?:8|16|32|64))x(\d+)u?\b")  # after no letter or digit


def prelude(body: str) -> str:
    """Headers, macros, vector types and helpers that the C text `body` uses, each before its users."""
    helpers: dict[tuple[str, str], str] = {}
    _collect(body, helpers)
    everything = "\n".join((*helpers.values(), body))
    macros = [macro for name, macro in MACROS.items() if f"{name}(" in everything]
    types = [_vector_type(short, int(count)) for short, count in sorted(_vector_types(everything))]
    return "".join((HEADERS, *macros, *types, *(helper + "\n" for helper in helpers.values())))


def _collect(text: str, helpers: dict[tuple[str, str], str]) -> None:
    """Add the helpers that a text uses, after those that they use themselves."""
    for pair in sorted(_helper_names(text) - helpers.keys()):
        helper = _helper(*pair)
        if helper is not None and pair not in helpers:
            _collect(helper.partition("{")[2], helpers)
            helpers[pair] = helper


def _helper_names(text: str) -> set[tuple[str, str]]:
    """The pairs (name, type) of all calls `name_type(`."""
    # Read backwards, since a search for brackets passes over most of the text in no time.
    return {(name[::-1], short[::-1]) for short, name in _CALL_BACKWARDS.findall(text[::-1])}


def _vector_types(text: str) -> set[tuple[str, str]]:
    return set(_VECTOR_TYPE.findall(text))


def _vector_type(short: str, count: int) -> str:
    """A vector type, and its form for elements in memory: any alignment, may alias the elements' own type."""
    name, size = f"{short}x{count}", _BYTES[short] * count
    return (
        f"typedef {_C_TYPES[short]} {name} __attribute__((vector_size({size})));\n"
        f"typedef {_C_TYPES[short]} {name}u"
        f" __attribute__((vector_size({size}), aligned({_BYTES[short]}), may_alias));\n"
    )


def _helper(name: str, short: str) -> str | None:
    """The definition of `name_short`, or None when there is no such helper."""
    element, _, count = short.partition("x")
    if element not in _C_TYPES:
        return None
    return _vector_helper(name, element, int(count)) if count else _scalar_helper(name, element)


def _scalar_helper(name: str, short: str) -> str | None:
    if short in ("f16", "b16"):
        return f"static inline {_NARROW[f'{name}_{short}']}" if f"{name}_{short}" in _NARROW else None
    kind, suffix = _C_TYPES[short], "f" if short == "f32" else ""
    is_float = short.startswith("f")
    two = f"static inline {kind} {name}_{short}({kind} a, {kind} b) {{ "
    one = f"static inline {kind} {name}_{short}({kind} a) {{ "
    if name == "opaque":  # volatile: it stays in the loop where it is
        return f'{one}__asm__ __volatile__("" : "+r"(a)); return a; }}'
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


def _vector_helper(name: str, short: str, count: int) -> str | None:
    kind, element = f"{short}x{count}", _C_TYPES[short]
    if name == "splat":
        # s - 0 is s for every s, and s + 0 would lose the sign of -0.
        return f"static inline {kind} splat_{kind}({element} s) {{ return s - ({kind}){{0}}; }}"
    if short == "f32" and name in POLYNOMIALS:
        return polynomial(name, count)
    if (joined := lanes_helper(name, short, count, element)) is not None:
        return joined
    if name in ("min", "max") and short != "b8":
        # A compare and a blend: C has no `?:` on vectors, and a lane loop takes gcc ten times longer to compile.
        mask = f"i{short[1:]}x{count}"
        pick = f"({kind})((m & ({mask})a) | (~m & ({mask})b))"
        sign = "<" if name == "min" else ">"
        return f"static inline {kind} {name}_{kind}({kind} a, {kind} b) {{ {mask} m = a {sign} b; return {pick}; }}"
    scalar = f"{name}{'f' if short == 'f32' else ''}" if name in _LIBM else f"{name}_{short}"
    two = name in ("min", "max", "pow")
    if name not in _LIBM and _scalar_helper(name, short) is None:
        return None
    parameters = f"{kind} a, {kind} b" if two else f"{kind} a"
    call = f"{scalar}({'a[lane], b[lane]' if two else 'a[lane]'})"
    body = f"{kind} r; EACH_LANE({count}) r[lane] = {call}; return r;"
    return f"static {kind} {name}_{kind}({parameters}) {{ {body} }}"
