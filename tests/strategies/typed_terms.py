"""Random terms whose operators get arguments of the right kind, and shapes for their leaves that often fit."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from taso_mini.shapes import Shape
from taso_mini.terms import Term, constants, term, variable, variables

_IMAGES = [variable(f"x{i}", "image") for i in (1, 2)]
_KERNELS = [variable(f"w{i}", "kernel") for i in (1, 2)] + [term("Iconv", kernel=(3, 3)), term("Cpool", kernel=(3, 3))]
_MATRICES = [variable(f"m{i}", "matrix") for i in (1, 2)] + [term("Imatmul")]
_SCALAR = variable("c1", "scalar")
_WINDOWS = [
    {"padding": padding, "strides": strides, "dilations": (1, 1)}
    for padding in ("same", (0, 0, 0, 0), (1, 0, 1, 1))
    for strides in ((1, 1), (2, 1))
]


def _images(image: st.SearchStrategy[Term], kernel: st.SearchStrategy[Term]) -> st.SearchStrategy[Term]:
    pools = [{"kernel": (3, 3), "padding": window["padding"], "strides": window["strides"]} for window in _WINDOWS]
    return st.one_of(
        st.builds(
            lambda x, w, p, f: term("conv", x, w, activation=f, **p),
            image,
            kernel,
            st.sampled_from(_WINDOWS),
            st.sampled_from(["none", "relu"]),
        ),
        st.builds(lambda x, p: term("avg_pool", x, **p), image, st.sampled_from(pools)),
        st.builds(lambda x, y: term("add", x, y), image, image),
        st.builds(lambda x, y, a: term("concat", x, y, axis=a), image, image, st.integers(0, 2)),
        st.builds(
            lambda x, name, a: term(name, x, axis=a), image, st.sampled_from(["split0", "split1"]), st.integers(0, 1)
        ),
        st.builds(lambda x: term("smul", x, _SCALAR), image),
    )


def _kernels(kernel: st.SearchStrategy[Term]) -> st.SearchStrategy[Term]:
    return st.one_of(
        st.builds(lambda w: term("enlarge", w, kernel=(3, 3)), kernel),
        st.builds(lambda w, like: term("enlarge_like", w, like), kernel, kernel),
        st.builds(lambda w, u, a: term("concat", w, u, axis=a), kernel, kernel, st.integers(0, 1)),
        st.builds(lambda w, u: term("add", w, u), kernel, kernel),
    )


def _matrices(matrix: st.SearchStrategy[Term]) -> st.SearchStrategy[Term]:
    return st.one_of(
        st.builds(lambda x, y: term("matmul", x, y), matrix, matrix),
        st.builds(lambda x: term("transpose", x, perm=(1, 0)), matrix),
        st.builds(lambda x, y, a: term("concat", x, y, axis=a), matrix, matrix, st.integers(0, 1)),
        st.builds(lambda x, a: term("split0", x, axis=a), matrix, st.integers(0, 1)),
        st.builds(lambda x, y: term("mul", x, y), matrix, matrix),
    )


def typed_terms() -> st.SearchStrategy[Term]:
    """Terms of convolutions and pools over images and kernels, or of matrices."""
    kernel = st.recursive(st.sampled_from(_KERNELS), _kernels, max_leaves=3)
    image = st.recursive(st.sampled_from(_IMAGES), lambda inner: _images(inner, kernel), max_leaves=4)
    return image | st.recursive(st.sampled_from(_MATRICES), _matrices, max_leaves=5)


def draw_shapes(roots: list[Term], rng: np.random.Generator) -> dict[str, Shape]:
    """Draw small shapes for the variables and constants of some terms."""

    def length(*choices: int) -> int:
        return int(rng.choice(choices))

    shapes = {}
    for leaf in (*variables(*roots), *constants(*roots)):
        kind = leaf.kind if leaf.is_variable else {"Imatmul": "matrix"}.get(leaf.operator, "constant kernel")
        shapes[leaf.name if leaf.is_variable else str(leaf)] = Shape(
            {
                "image": (1, length(1, 2, 4), length(3, 5), length(3, 4)),
                "kernel": (length(1, 2, 4), length(1, 2, 4), length(1, 3), length(1, 3)),
                "constant kernel": (length(1, 2, 4), length(1, 2, 4), 3, 3),
                "matrix": (length(1, 2, 3), length(1, 2, 3)),
                "scalar": (),
            }[kind]
        )
    return shapes
