"""What a user may tell the sketch rules about one tensor, as attributes of its declaration.

Paper: Ansor §4.2

`compute(..., attributes={"no_split_at_inner": ("kh", "kw")})`. The published code knows `SIMPLIFY_CONST_INDICES`,
`NO_SPLIT_AT_INNER` and `ALWAYS_UNROLL_INNER`; the others are its research prototype's.

>>> from ansor_mini.tensor_expression import compute, placeholder
>>> X = placeholder((4, 8), "X")
>>> Y = compute((4, 8), lambda i, j: X[i, j] + 1.0, "Y", attributes={ALWAYS_UNROLL: ("i",)})
>>> names(Y, ALWAYS_UNROLL), is_set(Y, NO_CACHE_WRITE)
(('i',), False)
"""

from __future__ import annotations

from collections.abc import Iterable

from ansor_mini.tensor_expression import Tensor

# Axes by name: unrolled completely, while the others are split in two; for tensors that read a constant matrix.
SIMPLIFY_CONST_INDICES = "simplify_const_indices"
NO_SPLIT_AT_INNER = "no_split_at_inner"  # axes by name: not split, and first in the innermost level
NO_SPLIT_AT_OUTER = "no_split_at_outer"  # axes by name: not split, and first in the outermost level
LAST_SPLIT_IS_ONE = "last_split_is_one"  # axes by name: their innermost tile has length 1
ALWAYS_UNROLL_INNER = "always_unroll_inner"  # axes by name: their innermost loop is unrolled
ALWAYS_UNROLL = "always_unroll"  # axes by name: all their loops are unrolled

ALWAYS_INLINE = "always_compute_inline"  # True: inlined although that may compute elements more than once
NO_CACHE_WRITE = "no_cache_write"  # True: no cache stage is added

AXIS_HINTS = (
    SIMPLIFY_CONST_INDICES,
    NO_SPLIT_AT_INNER,
    NO_SPLIT_AT_OUTER,
    LAST_SPLIT_IS_ONE,
    ALWAYS_UNROLL_INNER,
    ALWAYS_UNROLL,
)
FLAG_HINTS = (ALWAYS_INLINE, NO_CACHE_WRITE)


def names(tensor: Tensor, hint: str) -> tuple[str, ...]:
    """The axes that a hint names; none when it is not given."""
    value = tensor.attributes.get(hint, ())
    return tuple(value) if isinstance(value, (tuple, list)) else ()


def is_set(tensor: Tensor, hint: str) -> bool:
    """Whether a hint is given and says yes."""
    return bool(tensor.attributes.get(hint))


def check(tensors: Iterable[Tensor]) -> None:
    """Check the hints of tensors.

    Raises: ValueError: a hint names something that is no axis of its tensor, or one that cannot be named there.
    TypeError: a hint has another value than a tuple of names, or True or False.
    """
    for tensor in tensors:
        axes = [axis.name for axis in (*tensor.axes, *tensor.reduce_axes)]
        for hint in AXIS_HINTS:
            value = tensor.attributes.get(hint, ())
            if not isinstance(value, (tuple, list)):
                raise TypeError(f"attribute {hint} of {tensor.name}: expected a tuple of axis names, got {value!r}")
            if unknown := [name for name in value if name not in axes]:
                raise ValueError(f"attribute {hint} of {tensor.name}: expected axes out of {axes}, got {unknown}")
        if both := set(names(tensor, NO_SPLIT_AT_INNER)) & set(names(tensor, NO_SPLIT_AT_OUTER)):
            raise ValueError(
                f"{tensor.name}: expected {NO_SPLIT_AT_INNER} and {NO_SPLIT_AT_OUTER} to name different axes, "
                f"got {sorted(both)} in both"
            )
        for hint in FLAG_HINTS:
            if not isinstance(tensor.attributes.get(hint, False), bool):
                value = tensor.attributes[hint]
                raise TypeError(f"attribute {hint} of {tensor.name}: expected True or False, got {value!r}")
        if is_set(tensor, ALWAYS_INLINE) and tensor.combiner:
            raise ValueError(f"attribute {ALWAYS_INLINE} of {tensor.name}: a reduction cannot be inlined")
        kept = {name for name in names(tensor, SIMPLIFY_CONST_INDICES)}
        if kept and not kept >= {axis.name for axis in tensor.reduce_axes}:
            raise ValueError(
                f"attribute {SIMPLIFY_CONST_INDICES} of {tensor.name}: expected all reduction axes among {sorted(kept)}"
            )
