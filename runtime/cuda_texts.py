"""Several CUDA texts as one, so that one run of the compiler, whose start costs most, compiles all of them."""

from __future__ import annotations

from collections.abc import Sequence


def join_texts(texts: Sequence[str]) -> str:
    r"""One text: the includes once, each text's functions in a namespace of its own; kernels are `extern "C"`.

    The kernels' names must differ, since `extern "C"` names are the same in every namespace. Macros are for all.

    >>> print(join_texts(['#include <mma.h>\nint f();\n', '#include <mma.h>\nint f();\n']))
    #include <mma.h>
    namespace text0 {
    int f();
    }
    namespace text1 {
    int f();
    }
    """
    includes: dict[str, None] = {}
    bodies = []
    for number, text in enumerate(texts):
        lines = text.splitlines()
        includes |= {line.strip(): None for line in lines if line.lstrip().startswith("#include")}
        body = "\n".join(line for line in lines if not line.lstrip().startswith("#include")).strip("\n")
        bodies.append(f"namespace text{number} {{\n{body}\n}}")
    return "\n".join([*includes, *bodies])
