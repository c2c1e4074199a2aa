"""What is enumerated: input tensors with shapes, and operators with concrete parameters.

Paper: TASO §2.2, Table 1. `published()` is the operator set and the inputs of the generator that the authors published:
20 inputs, 26 operators, tensors of at most 512 elements. It restricts what some operators are applied to:

- the operands of `add`, `mul` and `concat` are taken in the order in which they were computed, never twice the same;
- `conv` takes no input of kind `kernel` or `matrix` as its image; `enlarge` takes inputs only;
- `matmul` takes no two equal matrices, and no inner length equal to the batch (2).

Two tensors are equal when they agree in shape, strides, split trees and values; a transpose may be a view (other
strides) or a copy.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace

MAX_ELEMENTS = 512


@dataclass(frozen=True)
class Input:
    """An input tensor; inputs of one family have one shape and may be renamed into each other."""

    name: str
    kind: str
    dims: tuple[int, ...]
    family: int


@dataclass(frozen=True)
class Template:
    """An operator with concrete parameters, as `taso_mini.operator_set` names them.

    Two parameters only restrict what it is applied to: `kernel` of a convolution and `rank` of a concatenation.
    `copy` of a transpose says whether its result is contiguous; `dims` are those of a constant.
    """

    operator: str
    params: tuple[tuple[str, Hashable], ...] = ()

    def param(self, name: str) -> Hashable:
        """Return a parameter, or None."""
        return dict(self.params).get(name)

    def __str__(self) -> str:
        """Return `operator(parameter=value, ...)`."""
        return f"{self.operator}({', '.join(f'{name}={value}' for name, value in self.params)})"


@dataclass(frozen=True)
class Space:
    """Inputs and operators to enumerate over.

    Attributes:
        name: for messages.
        inputs: the input tensors, families one after the other.
        templates: the operators.
        surrogates: how relu, pools and their constants are computed on integers: a name in
            `taso_mini.enumeration.surrogates.SURROGATES`.
        pools_keep_channels: whether a pool keeps the split tree of the channels (the published generator forgets it).
    """

    name: str
    inputs: tuple[Input, ...]
    templates: tuple[Template, ...]
    surrogates: str = "sound"
    pools_keep_channels: bool = False

    def __post_init__(self) -> None:
        """Check that families are contiguous and templates are different."""
        families = [one.family for one in self.inputs]
        if families != sorted(families):
            raise ValueError(f"inputs: expected the families in order, got {families}")
        if len(set(self.templates)) != len(self.templates):
            raise ValueError("templates: expected different operators, got one twice")

    @property
    def bits(self) -> tuple[int, ...]:
        """The bit of each input in a mask of used inputs; above each family one bit stays free."""
        return tuple(1 << (i + one.family) for i, one in enumerate(self.inputs))

    @property
    def lowest(self) -> int:
        """The bits of the first input of every family."""
        first = {one.family: bit for one, bit in reversed(list(zip(self.inputs, self.bits, strict=True)))}
        return sum(first.values())

    def only(self, *operators: str) -> Space:
        """Return the space with some of its operators.

        >>> len(published().only("add", "relu").templates)
        2
        """
        return replace(self, templates=tuple(t for t in self.templates if t.operator in operators))


def _template(operator: str, **params: Hashable) -> Template:
    return Template(operator, tuple(sorted(params.items())))


_FAMILIES = (
    ("x", "matrix", (2, 4)),
    ("w", "matrix", (4, 4)),
    ("i", "image", (2, 4, 5, 5)),
    ("k", "kernel", (4, 4, 3, 3)),
    ("r", "kernel", (4, 4, 1, 3)),
    ("c", "kernel", (4, 4, 3, 1)),
)
_POOL: dict[str, Hashable] = {"kernel": (3, 3), "padding": "same", "strides": (1, 1)}
_CONV: dict[str, Hashable] = {"dilations": (1, 1), "padding": "same", "strides": (1, 1)}

PUBLISHED_TEMPLATES: tuple[Template, ...] = (
    _template("matmul"),
    _template("add"),
    _template("mul"),
    *(
        _template("conv", kernel=kernel, activation=activation, **_CONV)
        for kernel in ((3, 3), (1, 1), (1, 3))
        for activation in ("none", "relu")
    ),
    _template("avg_pool", **_POOL),
    _template("max_pool", **_POOL),
    _template("Cpool", dims=(4, 1, 3, 3)),
    _template("Iconv", dims=(4, 4, 3, 3)),
    _template("Imatmul", dims=(4, 4)),
    _template("Iewmul", dims=(2, 4, 5, 5)),
    _template("enlarge", kernel=(3, 3)),
    _template("smul"),
    _template("relu"),
    *(_template("concat", axis=axis, rank=rank) for rank in (2, 4) for axis in (1, 0)),
    _template("split", axis=1),
    _template("split", axis=0),
    _template("transpose", perm=(1, 0), copy=False),
    _template("transpose", perm=(1, 0), copy=True),
)


def published(variables: int = 3, *, surrogates: str = "published") -> Space:
    """Return the published inputs and operators.

    Args:
        variables: inputs per family; three are published, the exchange law of concatenations needs four.
        surrogates: `published` computes relu, pools and constants as the published generator does, so that its counts
            are met; `sound` makes no false equation.

    >>> space = published()
    >>> len(space.inputs), len(space.templates)
    (20, 26)
    """
    if variables < 1:
        raise ValueError(f"variables: expected at least 1 per family, got {variables}")
    inputs = [
        Input(f"{letter}{i}", kind, dims, family)
        for family, (letter, kind, dims) in enumerate(_FAMILIES)
        for i in range(1, variables + 1)
    ]
    inputs += [Input("d1", "kernel", (4, 1, 3, 3), 6), Input("s1", "scalar", (), 7)]
    return Space(f"published, {variables} inputs per family", tuple(inputs), PUBLISHED_TEMPLATES, surrogates)
