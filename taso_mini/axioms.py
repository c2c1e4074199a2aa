"""The operator properties that substitutions are proved from: one table of named equations.

Paper: TASO §3, Table 2. An axiom says that two terms are equal for all tensors and parameters for which both sides are
defined, have the same shape, and its conditions hold. Most need no condition. The two that join convolutions along
channels (19 and 24) are false for grouped convolution and carry `groups == 1`; the published set states them without.
`number` is the place in the published verifier's list of 44, of which the paper's Table 2 has all but 43. The others
are ours: laws of bias, scale and enlarge_like, which the paper does not have, of enlarge, which it leaves out, and
`conv-concat-both-channels`, which the published authors found to be wrong and which is true under its conditions.

The table is what the prover, Z3 and the validation on small shapes all read. `LEMMAS` follow from the axioms; they are
given to provers because their proofs pass through operators that occur in neither side. `WRONG` holds plausible
equations that are false, to check that validation refutes them.

To add an axiom: a line in `AXIOMS`; `axiom_validation` then checks it on all small shapes.
"""

from __future__ import annotations

from dataclasses import dataclass

from taso_mini.rules_text import parse_term
from taso_mini.terms import Term, variables

# A variable's first letter gives its kind in the table below.
_KINDS = {
    "x": "tensor",
    "y": "tensor",
    "z": "tensor",
    "t": "tensor",
    "i": "image",
    "j": "image",
    "k": "kernel",
    "l": "kernel",
    "n": "kernel",
    "m": "matrix",
    "v": "vector",
    "u": "vector",
    "c": "scalar",
    "e": "scalar",
}
_NAMES = ("x", "y", "z", "t", "i", "j", "k", "l", "n", "m1", "m2", "m3", "m4", "v", "u", "c", "e")
_WINDOW = "dilations=d, padding=p, strides=s"
_SAME = "dilations=d, padding=same, strides=s"
_UNIT = "dilations=(1, 1), padding=same, strides=(1, 1)"
_POOL = "kernel=k, padding=p, strides=s"


@dataclass(frozen=True)
class Axiom:
    """A named equation between two terms.

    Attributes:
        name: unique, kebab-case.
        left, right: the two terms.
        conditions: what must hold beside that both sides are defined; read by `taso_mini.conditions`.
        number: its place among the 44 of the published verifier, if it is one of them.
    """

    name: str
    left: Term
    right: Term
    conditions: tuple[str, ...] = ()
    number: int | None = None

    @property
    def variables(self) -> tuple[Term, ...]:
        """The variables of both sides."""
        return variables(self.left, self.right)

    def __str__(self) -> str:
        """Return the axiom on one line."""
        when = f"  when {' and '.join(self.conditions)}" if self.conditions else ""
        return f"{self.name}: {self.left} = {self.right}{when}"


def _axiom(name: str, left: str, right: str, conditions: tuple[str, ...] = (), number: int | None = None) -> Axiom:
    return Axiom(name, _parse(left), _parse(right), conditions, number)


def _parse(text: str) -> Term:
    """Parse a side; WINDOW, SAME, UNIT and POOL abbreviate the parameters of convolutions and pools."""
    for short, long in (("WINDOW", _WINDOW), ("SAME", _SAME), ("UNIT", _UNIT), ("POOL", _POOL)):
        text = text.replace(short, long)
    return parse_term(text, {name: _KINDS[name[0]] for name in _NAMES})


# fmt: off
AXIOMS: tuple[Axiom, ...] = (
    # Sums and products, element by element.
    _axiom("add-associates", "add(x, add(y, z))", "add(add(x, y), z)", number=1),
    _axiom("add-commutes", "add(x, y)", "add(y, x)", number=2),
    _axiom("mul-associates", "mul(x, mul(y, z))", "mul(mul(x, y), z)", number=3),
    _axiom("mul-commutes", "mul(x, y)", "mul(y, x)", number=4),
    _axiom("mul-distributes", "mul(add(x, y), z)", "add(mul(x, z), mul(y, z))", number=5),
    # Scalars.
    _axiom("smul-associates", "smul(smul(x, c), e)", "smul(x, smul(c, e))", number=6),
    _axiom("smul-add", "smul(add(x, y), c)", "add(smul(x, c), smul(y, c))", number=7),
    _axiom("smul-mul", "smul(mul(x, y), c)", "mul(x, smul(y, c))", number=8),
    _axiom("smul-transpose", "smul(transpose(m1, perm=(1, 0)), c)", "transpose(smul(m1, c), perm=(1, 0))", number=9),
    _axiom("smul-matmul", "smul(matmul(m1, m2), c)", "matmul(m1, smul(m2, c))", number=10),
    _axiom("smul-concat", "smul(concat(x, y, axis=a), c)", "concat(smul(x, c), smul(y, c), axis=a)", number=11),
    _axiom("smul-conv-image-kernel", "conv(smul(i, c), k, activation=f, WINDOW)",
           "conv(i, smul(k, c), activation=f, WINDOW)", number=12),
    _axiom("smul-conv", "smul(conv(i, k, activation=none, WINDOW), c)", "conv(smul(i, c), k, activation=none, WINDOW)",
           number=13),
    _axiom("smul-of-scalars", "smul(c, e)", "mul(c, e)"),  # so that products of scalars commute
    # Relu.
    _axiom("relu-conv", "relu(conv(i, k, activation=none, WINDOW))", "conv(i, k, activation=relu, WINDOW)", number=14),
    _axiom("relu-concat", "relu(concat(x, y, axis=a))", "concat(relu(x), relu(y), axis=a)", number=15),
    _axiom("relu-transpose", "relu(transpose(m1, perm=(1, 0)))", "transpose(relu(m1), perm=(1, 0))", number=16),
    # Convolution is linear in both arguments, and batches and output channels are independent.
    _axiom("conv-add-kernels", "conv(i, add(k, l), activation=none, WINDOW)",
           "add(conv(i, k, activation=none, WINDOW), conv(i, l, activation=none, WINDOW))", number=17),
    _axiom("conv-add-images", "conv(add(i, j), k, activation=none, WINDOW)",
           "add(conv(i, k, activation=none, WINDOW), conv(j, k, activation=none, WINDOW))", number=18),
    _axiom("conv-concat-input-channels",
           "add(conv(i, k, activation=none, WINDOW), conv(j, l, activation=none, WINDOW))",
           "conv(concat(i, j, axis=1), concat(k, l, axis=1), activation=none, WINDOW)",
           ("groups(i, k) == 1", "groups(j, l) == 1"), number=19),
    _axiom("conv-concat-batch",
           "concat(conv(i, k, activation=f, WINDOW), conv(j, k, activation=f, WINDOW), axis=0)",
           "conv(concat(i, j, axis=0), k, activation=f, WINDOW)", number=23),
    _axiom("conv-concat-output-channels",
           "concat(conv(i, k, activation=f, WINDOW), conv(i, l, activation=f, WINDOW), axis=1)",
           "conv(i, concat(k, l, axis=0), activation=f, WINDOW)", ("groups(i, k) == 1",), number=24),
    _axiom("conv-concat-both-channels",
           "concat(conv(i, k, activation=f, WINDOW), conv(j, l, activation=f, WINDOW), axis=1)",
           "conv(concat(i, j, axis=1), concat(k, l, axis=0), activation=f, WINDOW)",
           ("k.shape[1] == l.shape[1]", "k.shape[0] * j.shape[1] == l.shape[0] * i.shape[1]")),
    # A kernel in the middle of a larger window, given as a number or as another kernel's.
    _axiom("conv-enlarge", "conv(i, enlarge(k, kernel=k), activation=f, SAME)", "conv(i, k, activation=f, SAME)",
           number=44),
    _axiom("enlarge-nothing", "enlarge(k, kernel=k)", "k"),
    _axiom("enlarge-add", "enlarge(add(k, l), kernel=k)", "add(enlarge(k, kernel=k), enlarge(l, kernel=k))"),
    _axiom("enlarge-mul", "enlarge(mul(k, l), kernel=k)", "mul(enlarge(k, kernel=k), enlarge(l, kernel=k))"),
    _axiom("enlarge-smul", "enlarge(smul(k, c), kernel=k)", "smul(enlarge(k, kernel=k), c)"),
    _axiom("enlarge-relu", "enlarge(relu(k), kernel=k)", "relu(enlarge(k, kernel=k))"),
    _axiom("enlarge-concat-outputs", "enlarge(concat(k, l, axis=0), kernel=k)",
           "concat(enlarge(k, kernel=k), enlarge(l, kernel=k), axis=0)"),
    _axiom("enlarge-concat-inputs", "enlarge(concat(k, l, axis=1), kernel=k)",
           "concat(enlarge(k, kernel=k), enlarge(l, kernel=k), axis=1)"),
    _axiom("enlarge-scale-kernel", "enlarge(scale_kernel(k, v), kernel=k)", "scale_kernel(enlarge(k, kernel=k), v)"),
    _axiom("conv-enlarge-like", "conv(i, enlarge_like(k, l), activation=f, SAME)", "conv(i, k, activation=f, SAME)"),
    _axiom("enlarge-like-concat", "enlarge_like(concat(k, l, axis=0), n)",
           "concat(enlarge_like(k, n), enlarge_like(l, n), axis=0)"),
    _axiom("enlarge-like-add", "enlarge_like(add(k, l), n)", "add(enlarge_like(k, n), enlarge_like(l, n))"),
    _axiom("enlarge-like-scale-kernel", "enlarge_like(scale_kernel(k, v), n)", "scale_kernel(enlarge_like(k, n), v)"),
    # Matrices.
    _axiom("matmul-associates", "matmul(m1, matmul(m2, m3))", "matmul(matmul(m1, m2), m3)", number=25),
    _axiom("matmul-distributes", "matmul(m1, add(m2, m3))", "add(matmul(m1, m2), matmul(m1, m3))", number=29),
    _axiom("matmul-concat-columns", "matmul(m1, concat(m2, m3, axis=1))",
           "concat(matmul(m1, m2), matmul(m1, m3), axis=1)", number=28),
    _axiom("matmul-concat-inner", "add(matmul(m1, m2), matmul(m3, m4))",
           "matmul(concat(m1, m3, axis=1), concat(m2, m4, axis=0))", number=20),
    _axiom("transpose-transpose", "transpose(transpose(m1, perm=(1, 0)), perm=(1, 0))", "m1", number=30),
    _axiom("transpose-matmul", "transpose(matmul(m1, m2), perm=(1, 0))",
           "matmul(transpose(m2, perm=(1, 0)), transpose(m1, perm=(1, 0)))", number=31),
    _axiom("transpose-concat", "transpose(concat(m1, m2, axis=0), perm=(1, 0))",
           "concat(transpose(m1, perm=(1, 0)), transpose(m2, perm=(1, 0)), axis=1)", number=32),
    _axiom("transpose-add", "transpose(add(m1, m2), perm=(1, 0))",
           "add(transpose(m1, perm=(1, 0)), transpose(m2, perm=(1, 0)))", number=34),
    _axiom("transpose-mul", "transpose(mul(m1, m2), perm=(1, 0))",
           "mul(transpose(m1, perm=(1, 0)), transpose(m2, perm=(1, 0)))", number=35),
    # Geometry.
    _axiom("split0-concat", "split0(concat(x, y, axis=a), axis=a)", "x", number=26),
    _axiom("split1-concat", "split1(concat(x, y, axis=a), axis=a)", "y", number=27),
    _axiom("concat-add", "concat(add(x, y), add(z, t), axis=a)",
           "add(concat(x, z, axis=a), concat(y, t, axis=a))", number=21),
    _axiom("concat-mul", "concat(mul(x, y), mul(z, t), axis=a)",
           "mul(concat(x, z, axis=a), concat(y, t, axis=a))", number=22),
    _axiom("concat-exchange", "concat(concat(x, y, axis=1), concat(z, t, axis=1), axis=0)",
           "concat(concat(x, z, axis=0), concat(y, t, axis=0), axis=1)", number=33),
    # Pools.
    _axiom("avg-pool-concat-channels", "concat(avg_pool(i, POOL), avg_pool(j, POOL), axis=1)",
           "avg_pool(concat(i, j, axis=1), POOL)", number=36),
    _axiom("max-pool-concat-batch", "concat(max_pool(i, POOL), max_pool(j, POOL), axis=0)",
           "max_pool(concat(i, j, axis=0), POOL)", number=37),
    _axiom("max-pool-concat-channels", "concat(max_pool(i, POOL), max_pool(j, POOL), axis=1)",
           "max_pool(concat(i, j, axis=1), POOL)", number=38),
    # Constants. Their shapes are open: wherever both sides are defined and have the same shape, they are equal.
    _axiom("conv-pool-kernel",
           "conv(i, Cpool(kernel=k), activation=none, dilations=(1, 1), padding=p, strides=s)",
           "avg_pool(i, kernel=k, padding=p, strides=s)", number=39),
    _axiom("conv-identity-kernel",
           "conv(i, Iconv(kernel=k), activation=none, dilations=d, padding=same, strides=(1, 1))", "i", number=40),
    _axiom("matmul-identity-matrix", "matmul(m1, Imatmul())", "m1", number=41),
    _axiom("mul-ones", "mul(x, Iewmul())", "x", number=42),
    _axiom("avg-pool-identity-kernel", "avg_pool(Iconv(kernel=k), kernel=k, padding=same, strides=(1, 1))",
           "Cpool(kernel=k)", number=43),
    _axiom("conv-identity-image-twice",
           "conv(Iconv(kernel=k), conv(Iconv(kernel=k), k, activation=none, UNIT), activation=none, UNIT)",
           "enlarge(k, kernel=k)"),
    _axiom("relu-conv-identity-image", "relu(conv(Iconv(kernel=k), k, activation=none, WINDOW))",
           "conv(Iconv(kernel=k), relu(k), activation=none, WINDOW)"),
    # Vectors along the channels: biases, and the factors of batch normalisation.
    _axiom("conv-bias", "conv_bias(i, k, v, activation=none, WINDOW)", "bias(conv(i, k, activation=none, WINDOW), v)"),
    _axiom("relu-conv-bias", "relu(conv_bias(i, k, v, activation=none, WINDOW))",
           "conv_bias(i, k, v, activation=relu, WINDOW)"),
    _axiom("scale-conv", "scale(conv(i, k, activation=none, WINDOW), v)",
           "conv(i, scale_kernel(k, v), activation=none, WINDOW)"),
    _axiom("scale-scale", "scale(scale(i, v), u)", "scale(i, mul(v, u))"),
    _axiom("scale-kernel-twice", "scale_kernel(scale_kernel(k, v), u)", "scale_kernel(k, mul(v, u))"),
    _axiom("bias-bias", "bias(bias(i, v), u)", "bias(i, add(v, u))"),
    _axiom("scale-bias", "scale(bias(i, v), u)", "bias(scale(i, u), mul(v, u))"),
    _axiom("scale-add", "scale(add(i, j), v)", "add(scale(i, v), scale(j, v))"),
    _axiom("scale-mul", "scale(mul(i, j), v)", "mul(scale(i, v), j)"),
    _axiom("scale-smul", "scale(smul(i, c), v)", "scale(i, smul(v, c))"),
    _axiom("smul-scale", "smul(scale(i, v), c)", "scale(i, smul(v, c))"),
    _axiom("smul-bias", "smul(bias(i, v), c)", "bias(smul(i, c), smul(v, c))"),
    _axiom("bias-add", "bias(add(i, j), v)", "add(bias(i, v), j)"),
    _axiom("scale-by-sum", "scale(i, add(v, u))", "add(scale(i, v), scale(i, u))"),
    _axiom("scale-kernel-by-sum", "scale_kernel(k, add(v, u))", "add(scale_kernel(k, v), scale_kernel(k, u))"),
    _axiom("scale-kernel-add", "scale_kernel(add(k, l), v)", "add(scale_kernel(k, v), scale_kernel(l, v))"),
    _axiom("scale-kernel-mul", "scale_kernel(mul(k, l), v)", "mul(scale_kernel(k, v), l)"),
    _axiom("scale-concat-channels", "concat(scale(i, v), scale(j, u), axis=1)",
           "scale(concat(i, j, axis=1), concat(v, u, axis=0))"),
    _axiom("scale-concat-batch", "concat(scale(i, v), scale(j, v), axis=0)", "scale(concat(i, j, axis=0), v)"),
    _axiom("bias-concat-channels", "concat(bias(i, v), bias(j, u), axis=1)",
           "bias(concat(i, j, axis=1), concat(v, u, axis=0))"),
    _axiom("bias-concat-batch", "concat(bias(i, v), bias(j, v), axis=0)", "bias(concat(i, j, axis=0), v)"),
    _axiom("scale-kernel-concat", "concat(scale_kernel(k, v), scale_kernel(l, u), axis=0)",
           "scale_kernel(concat(k, l, axis=0), concat(v, u, axis=0))"),
)

LEMMAS: tuple[Axiom, ...] = (
    # Those of the published verifier.
    _axiom("transpose-identity-matrix", "transpose(Imatmul(), perm=(1, 0))", "Imatmul()"),
    _axiom("matmul-identity-matrix-left", "matmul(Imatmul(), m1)", "m1"),
    _axiom("avg-pool-concat-batch", "concat(avg_pool(i, POOL), avg_pool(j, POOL), axis=0)",
           "avg_pool(concat(i, j, axis=0), POOL)"),
    # Those whose proofs pass through operators that occur in neither side.
    _axiom("matmul-distributes-left", "matmul(add(m1, m2), m3)", "add(matmul(m1, m3), matmul(m2, m3))"),
    _axiom("matmul-concat-rows", "matmul(concat(m1, m2, axis=0), m3)",
           "concat(matmul(m1, m3), matmul(m2, m3), axis=0)"),
    _axiom("smul-matmul-left", "smul(matmul(m1, m2), c)", "matmul(smul(m1, c), m2)"),
    _axiom("transpose-concat-columns", "transpose(concat(m1, m2, axis=1), perm=(1, 0))",
           "concat(transpose(m1, perm=(1, 0)), transpose(m2, perm=(1, 0)), axis=0)"),
    # Ours.
    _axiom("smul-by-product", "smul(smul(x, c), e)", "smul(x, mul(c, e))"),
    _axiom("avg-pool-add", "avg_pool(add(i, j), POOL)", "add(avg_pool(i, POOL), avg_pool(j, POOL))"),
    _axiom("smul-avg-pool", "smul(avg_pool(i, POOL), c)", "avg_pool(smul(i, c), POOL)"),
)

WRONG: tuple[Axiom, ...] = (
    _axiom("matmul-commutes", "matmul(m1, m2)", "matmul(m2, m1)"),
    _axiom("relu-adds", "relu(add(x, y))", "add(relu(x), relu(y))"),
    _axiom("concat-commutes", "concat(x, y, axis=a)", "concat(y, x, axis=a)"),
    _axiom("conv-relu-adds-kernels", "conv(i, add(k, l), activation=relu, WINDOW)",
           "add(conv(i, k, activation=relu, WINDOW), conv(i, l, activation=relu, WINDOW))"),
    _axiom("grouped-conv-concat-input-channels",
           "add(conv(i, k, activation=none, WINDOW), conv(j, l, activation=none, WINDOW))",
           "conv(concat(i, j, axis=1), concat(k, l, axis=1), activation=none, WINDOW)"),
    _axiom("grouped-conv-concat-output-channels",
           "concat(conv(i, k, activation=f, WINDOW), conv(i, l, activation=f, WINDOW), axis=1)",
           "conv(i, concat(k, l, axis=0), activation=f, WINDOW)"),
    _axiom("concat-convs-channelwise",
           "concat(conv(i, k, activation=f, WINDOW), conv(j, l, activation=f, WINDOW), axis=1)",
           "conv(concat(i, j, axis=1), concat(k, l, axis=0), activation=f, WINDOW)"),
    _axiom("max-pool-adds", "max_pool(add(i, j), POOL)", "add(max_pool(i, POOL), max_pool(j, POOL))"),
    _axiom("scale-relu-conv", "scale(conv(i, k, activation=relu, WINDOW), v)",
           "conv(i, scale_kernel(k, v), activation=relu, WINDOW)"),
    _axiom("conv-mul-drops-operand", "mul(conv(i, k, activation=none, WINDOW), j)",
           "conv(i, k, activation=none, WINDOW)"),
    _axiom("concat-associates", "concat(concat(x, y, axis=a), z, axis=a)", "concat(x, concat(y, z, axis=a), axis=a)"),
)
# fmt: on
