"""What is enumerated for the shipped rules: small groups of operators that meet in real networks.

Paper: TASO §2.2. The paper enumerates all operators at once, up to four. A profile restricts operators and inputs, so
that the graphs of interest are reached at their size: merging two convolutions with biases and unequal windows takes
five operators. Rules found twice are shipped once. To extend the shipped set, add a profile and run
`python -m taso_mini generate`.
"""

from __future__ import annotations

from collections.abc import Hashable

from taso_mini.generator import Profile
from taso_mini.terms import Params, Term, variable

Operator = tuple[str, Params]


def _operator(name: str, **params: Hashable) -> Operator:
    return name, tuple(sorted(params.items()))


def _inputs(**dims: tuple[int, ...]) -> tuple[tuple[Term, tuple[int, ...]], ...]:
    """Return variables with their dims; the name's first letter gives the kind."""
    kinds = {"t": "tensor", "m": "matrix", "i": "image", "k": "kernel", "v": "vector", "c": "scalar"}
    return tuple((variable(name, kinds[name[0]]), shape) for name, shape in dims.items())


ADD, MUL, SMUL, RELU, MATMUL = map(_operator, ("add", "mul", "smul", "relu", "matmul"))
TRANSPOSE = _operator("transpose", perm=(1, 0))
CONCAT0, CONCAT1 = _operator("concat", axis=0), _operator("concat", axis=1)
SPLIT0, SPLIT1 = _operator("split", axis=0), _operator("split", axis=1)
_WINDOW: dict[str, Hashable] = {"strides": (1, 1), "padding": "same", "dilations": (1, 1)}
CONV, CONV_RELU = (_operator("conv", activation=name, **_WINDOW) for name in ("none", "relu"))
CONV_BIAS, CONV_BIAS_RELU = (_operator("conv_bias", activation=name, **_WINDOW) for name in ("none", "relu"))
BIAS, SCALE, SCALE_KERNEL, ENLARGE = map(_operator, ("bias", "scale", "scale_kernel", "enlarge_like"))
_POOL: dict[str, Hashable] = {"kernel": (3, 3), "padding": "same", "strides": (1, 1)}
AVG_POOL, MAX_POOL = (_operator(name, **_POOL) for name in ("avg_pool", "max_pool"))

_IMAGE, _KERNEL, _SMALL, _VECTOR = (2, 4, 5, 3), (4, 4, 3, 3), (4, 4, 1, 1), (4,)

_MERGE = ((CONCAT0, ("kernel", "vector")), (CONCAT1, ("image",)), (SPLIT1, ("image",)))

PROFILES: tuple[Profile, ...] = (
    Profile(
        "elementwise",
        _inputs(t1=(2, 3), t2=(2, 3), t3=(2, 3), t4=(2, 3)),
        (ADD, MUL, RELU, CONCAT1, SPLIT1),
        3,
        representatives=True,
    ),
    Profile(
        "scalars", _inputs(t1=(2, 3), t2=(2, 3), c1=(), c2=()), (ADD, MUL, SMUL, RELU, CONCAT1), 3, representatives=True
    ),
    Profile(
        "exchange",
        _inputs(t1=(2, 3), t2=(2, 3), t3=(2, 3), t4=(2, 3)),
        (CONCAT0, CONCAT1, RELU),
        3,
        representatives=True,
    ),
    Profile(
        "matrices", _inputs(m1=(4, 4), m2=(4, 4), m3=(4, 4)), (MATMUL, ADD, TRANSPOSE, RELU), 3, representatives=True
    ),
    Profile(
        "matrix-merges",
        _inputs(m1=(4, 4), m2=(4, 4), m3=(4, 4), m4=(4, 4)),
        (MATMUL, ADD, CONCAT0, CONCAT1, SPLIT0, SPLIT1),
        3,
        representatives=True,
    ),
    Profile(
        "matrix-geometry",
        _inputs(m1=(4, 4), m2=(4, 4), m3=(4, 4)),
        (TRANSPOSE, ADD, MUL, CONCAT0, CONCAT1, SPLIT0, SPLIT1),
        3,
        representatives=True,
    ),
    Profile(
        "matrix-scalars",
        _inputs(m1=(4, 4), m2=(4, 4), m3=(4, 4), c1=()),
        (MATMUL, SMUL, TRANSPOSE, ADD),
        3,
        representatives=True,
    ),
    Profile(
        "convolutions",
        _inputs(i1=_IMAGE, i2=_IMAGE, k1=_KERNEL, k2=_KERNEL),
        (CONV, CONV_RELU, RELU, ADD, CONCAT0, CONCAT1, SPLIT0, SPLIT1),
        3,
        representatives=True,
    ),
    Profile(
        "convolution-scalars",
        _inputs(i1=_IMAGE, i2=_IMAGE, k1=_KERNEL, k2=_KERNEL, c1=()),
        (CONV, CONV_RELU, SMUL, RELU, ADD),
        3,
        representatives=True,
    ),
    Profile(
        "batch-normalisation",
        _inputs(i1=_IMAGE, k1=_KERNEL, v1=_VECTOR, v2=_VECTOR),
        (CONV, CONV_BIAS, CONV_BIAS_RELU, BIAS, SCALE, SCALE_KERNEL, RELU, ADD, MUL),
        3,
        representatives=True,
        only=((ADD, ("vector",)), (MUL, ("vector",))),
    ),
    Profile(
        "channel-vectors",
        _inputs(i1=_IMAGE, i2=_IMAGE, v1=_VECTOR, v2=_VECTOR),
        (BIAS, SCALE, ADD, MUL, RELU, CONCAT0, CONCAT1),
        3,
        representatives=True,
    ),
    Profile(
        "biased-merges",
        _inputs(i1=_IMAGE, k1=_KERNEL, k2=_KERNEL, v1=_VECTOR, v2=_VECTOR),
        (CONV_BIAS, CONV_BIAS_RELU, CONCAT0, CONCAT1, SPLIT1),
        4,
        representatives=True,
        only=_MERGE,
    ),
    Profile(
        "unequal-windows",
        _inputs(i1=_IMAGE, k1=_SMALL, k2=_KERNEL),
        (CONV, CONV_RELU, ENLARGE, CONCAT0, CONCAT1, SPLIT1),
        4,
        representatives=True,
        only=_MERGE,
    ),
    Profile(
        "unequal-windows-biased",
        _inputs(i1=_IMAGE, k1=_SMALL, k2=_KERNEL, v1=_VECTOR, v2=_VECTOR),
        (CONV_BIAS_RELU, ENLARGE, CONCAT0, CONCAT1, SPLIT1),
        5,
        representatives=True,
        only=_MERGE,
    ),
    Profile(
        "unequal-windows-split",
        _inputs(i1=_IMAGE, k1=_SMALL, k2=_KERNEL, v1=_VECTOR, v2=_VECTOR),
        (CONV_BIAS, CONV_BIAS_RELU, ENLARGE, CONCAT0, SPLIT1),
        5,
        representatives=True,
        only=_MERGE,
    ),
    Profile(
        "pools",
        _inputs(i1=_IMAGE, i2=_IMAGE, c1=()),
        (AVG_POOL, MAX_POOL, RELU, ADD, SMUL, CONCAT0, CONCAT1, SPLIT1),
        3,
        representatives=True,
    ),
)
