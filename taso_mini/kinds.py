"""Which kind of tensor each operator takes and gives, and what that says about a rule's variables.

Paper: TASO §2.1. The kinds are those of `taso_mini.terms`; `*` is the same open kind wherever it stands in one row.

>>> from taso_mini.terms import term, variable
>>> x, w, c = (variable(name, "tensor") for name in "xwc")
>>> sorted(least_kinds([term("conv", x, term("smul", w, c))]).values())
['image', 'kernel', 'scalar']
"""

from __future__ import annotations

from collections.abc import Sequence

from taso_mini.terms import Term, subterms, variables

Signature = tuple[tuple[str, ...], str]  # kinds of the arguments, kind of the value

SIGNATURES: dict[str, Signature] = {
    "matmul": (("matrix", "matrix"), "matrix"),
    "transpose": (("matrix",), "matrix"),
    "conv": (("image", "kernel"), "image"),
    "conv_bias": (("image", "kernel", "vector"), "image"),
    "scale": (("image", "vector"), "image"),
    "bias": (("image", "vector"), "image"),
    "scale_kernel": (("kernel", "vector"), "kernel"),
    "enlarge": (("kernel",), "kernel"),
    "enlarge_like": (("kernel", "kernel"), "kernel"),
    "avg_pool": (("image",), "image"),
    "max_pool": (("image",), "image"),
    "add": (("*", "*"), "*"),
    "mul": (("*", "*"), "*"),
    "smul": (("*", "scalar"), "*"),
    "relu": (("*",), "*"),
    "concat": (("*", "*"), "*"),
    "split0": (("*",), "*"),
    "split1": (("*",), "*"),
    "Cpool": ((), "kernel"),
    "Iconv": ((), "kernel"),
    "Imatmul": ((), "matrix"),
    "Iewmul": ((), "*"),
}
LETTERS = {"image": "x", "matrix": "x", "tensor": "x", "kernel": "w", "vector": "v", "scalar": "c"}  # variables' names


def least_kinds(roots: Sequence[Term], known: dict[Term, str] | None = None) -> dict[Term, str]:
    """Return each variable's kind: what some operator asks for directly or through others, else `tensor`.

    A tensor that is used both as an image and as a kernel is a `kernel`: that has four axes too, and is the smaller.

    Args:
        roots: all outputs of both sides of the rule, so that one side's demands count for the other.
        known: kinds of subterms that are known otherwise, asked for beside the operators'.
    """
    parent: dict[Term, Term] = {}
    wanted: dict[Term, str] = {}

    def find(node: Term) -> Term:
        while parent.setdefault(node, node) is not node:
            node = parent[node]
        return node

    def ask(node: Term, kind: str) -> None:
        node = find(node)
        four_axes = {wanted.get(node, kind), kind} == {"image", "kernel"}
        wanted[node] = "kernel" if four_axes else wanted.get(node, kind)

    def join(a: Term, b: Term) -> None:
        a, b = find(a), find(b)
        if a is not b:
            parent[a] = b
            if a in wanted:
                ask(b, wanted[a])

    for node in subterms(*roots):
        if node.is_variable:
            find(node)
            continue
        asked, gives = SIGNATURES[node.operator]
        for want, other in [*zip(asked, node.args, strict=True), (gives, node)]:
            if want == "*":
                join(other, node)
            else:
                ask(other, want)
    for node, kind in (known or {}).items():
        if find(node) not in wanted:
            ask(node, kind)
    return {v: wanted.get(find(v), "tensor") for v in variables(*roots)}
