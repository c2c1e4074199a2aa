"""A step that computes a stage by residue classes, so that taps that a stride skips are not visited at all.

Beyond the paper. A transposed convolution of stride s reads its input only where `(h + kh + c) % s == 0`. Of all h with
one residue q = h % s, the taps that count are those with one residue r = (-q - c) % s. So with h = s h' + q and
kh = s kh' + r(q), the condition holds for every h' and kh', and is gone: each class is an ordinary convolution.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ansor_mini import sketch_hints as hints
from ansor_mini.guards import skip_identities
from ansor_mini.schedule import ROOT, ScheduleError, State, Step, untouched_stage
from ansor_mini.stage_steps import replace_stage
from ansor_mini.tensor_expression import CACHE_COPY, Axis, Tensor
from runtime.expr import Binary, Const, Expr, Var, select
from runtime.expr_tree import substitute
from runtime.indices.simplify import Simplifier


@dataclass(frozen=True)
class Congruence:
    """The condition `(axis + tap + offset) % stride == 0` on a reduction; 0 <= offset < stride."""

    axis: Axis
    tap: Axis
    offset: int
    stride: int

    @property
    def class_axis(self) -> str:
        """Name of the axis over the residues of `axis`."""
        return f"{self.axis.name}_class"

    def tap_residue(self) -> Expr:
        """The residue of the taps that count for a class.

        >>> h, kh = Axis("h", "int32", 8), Axis("kh", "int32", 4)
        >>> for offset, stride in ((0, 2), (1, 2), (1, 3), (0, 3)):
        ...     print(Congruence(h, kh, offset, stride).tap_residue())
        h_class
        1 - h_class
        2 - h_class
        (6 - h_class) % 3
        """
        residue = Var(self.class_axis)
        if self.offset == 1:
            return self.stride - 1 - residue
        if self.stride == 2:
            return residue
        return (2 * self.stride - self.offset - residue) % self.stride


def congruences(tensor: Tensor) -> tuple[Congruence, ...]:
    """The congruences between an output axis and a reduction axis under which a reduction's terms count.

    >>> from ansor_mini.workloads import parse_workload
    >>> conv = parse_workload("T2D:4,4,8,8,4,2,1")["conv"]
    >>> [(c.axis.name, c.tap.name, c.offset, c.stride) for c in congruences(conv)]
    [('h', 'kh', 0, 2), ('w', 'kw', 0, 2)]
    """
    return tuple(found for condition in _conditions(tensor)[0] if (found := _congruence(tensor, condition)))


def _conditions(tensor: Tensor) -> tuple[list[Expr], Expr]:
    if tensor.combiner is None:
        return [], tensor.expression
    return skip_identities(tensor.expression, tensor.combiner, tensor.identity, ())


def _congruence(tensor: Tensor, condition: Expr) -> Congruence | None:
    if not isinstance(condition, Binary) or condition.op != "==" or condition.b != Const(0):
        return None
    remainder = condition.a
    if not (isinstance(remainder, Binary) and remainder.op == "%" and isinstance(remainder.b, Const)):
        return None
    form, stride = Simplifier({}).affine(remainder.a), int(remainder.b.value)
    axes = {Var(axis.name): axis for axis in tensor.axes}
    taps = {Var(axis.name): axis for axis in tensor.reduce_axes}
    if stride < 2 or len(form.terms) != 2 or set(form.terms.values()) != {1}:
        return None
    axis = next((axes[term] for term in form.terms if term in axes), None)
    tap = next((taps[term] for term in form.terms if term in taps), None)
    return None if axis is None or tap is None else Congruence(axis, tap, form.const % stride, stride)


@dataclass(frozen=True)
class ResidueClasses(Step):
    """Compute a stage in a new stage C.classes by residue classes of its congruences; C itself only copies.

    >>> from ansor_mini.schedule import replay
    >>> from ansor_mini.workloads import parse_workload
    >>> dag = parse_workload("T2D:4,4,8,8,4,2,1")
    >>> print(dag["conv"].expression.a)
    select((h + kh + 0) % 2 == 0 and (w + kw + 0) % 2 == 0, pad[n, (h + kh + 0) // 2, (w + kw + 0) // 2, ci], 0.0)
    >>> state = replay(dag, [ResidueClasses("conv")])
    >>> print(state["conv.classes"].tensor.expression)
    pad[n, h + h_class + kh, w + w_class + kw, ci] * W[3 - kh * 2 - h_class, 3 - kw * 2 - w_class, ci, c]
    >>> print(state["conv"].tensor.declaration())
    conv[n, h, w, c] = conv.classes[h % 2, w % 2, n, h // 2, w // 2, c] for n in range(1), h in range(8), \
w in range(8), c in range(8)
    """

    stage: str

    def apply(self, state: State) -> State:
        """The state after this step."""
        stage = state[self.stage]
        old, found = stage.tensor, congruences(stage.tensor)
        if not stage.is_untouched or stage.location != ROOT or state.attached_to(self.stage):
            raise ScheduleError(f"{self}: {self.stage} must not be scheduled before", state)
        if not found:
            raise ScheduleError(f"{self}: no congruence decides which terms of {self.stage} count", state)
        classes = _by_classes(old, found)
        if classes.name in state.dag.tensors:
            raise ScheduleError(f"{self}: {self.stage} already has classes", state)
        place = {axis.name: Var(axis.name) for axis in old.axes}
        strides = {congruence.axis.name: congruence.stride for congruence in found}
        indices = tuple(place[c.axis.name] % c.stride for c in found)
        indices += tuple(index // strides[name] if name in strides else index for name, index in place.items())
        attributes = {**old.attributes, CACHE_COPY: True}
        copy = replace(old, reduce_axes=(), combiner=None, body=classes[indices], attributes=attributes)
        return replace_stage(state, old.name, untouched_stage(classes), untouched_stage(copy))


def _by_classes(old: Tensor, found: Sequence[Congruence]) -> Tensor:
    """The tensor with an axis for the residues of each congruence first, its other axes and taps divided by strides."""
    whole: dict[str, Expr] = {}
    extents = {axis.name: axis.extent for axis in (*old.axes, *old.reduce_axes)}
    for c in found:
        # h = s h' + q, kh = s kh' + r(q)
        whole[c.axis.name] = Var(c.axis.name) * c.stride + Var(c.class_axis)
        whole[c.tap.name] = Var(c.tap.name) * c.stride + c.tap_residue()
        for axis in (c.axis, c.tap):
            extents[axis.name] = -(-axis.extent // c.stride)
        extents[c.class_axis] = c.stride
    ranges = {name: (0, extent - 1) for name, extent in extents.items()}
    simplifier = Simplifier(ranges)
    conditions, value = _conditions(old)
    kept = [substitute(condition, whole) for condition in conditions if _congruence(old, condition) is None]
    for c in found:
        kept += [whole[axis.name] < axis.extent for axis in (c.axis, c.tap) if axis.extent % c.stride]
    body = simplifier.value(substitute(value, whole))
    for condition in map(simplifier.value, reversed(kept)):
        body = select(condition, body, old.identity)
    axes = tuple(Axis(c.class_axis, "int32", c.stride) for c in found)
    axes += tuple(Axis(axis.name, "int32", extents[axis.name]) for axis in old.axes)
    return replace(
        old,
        name=f"{old.name}.classes",
        shape=tuple(axis.extent for axis in axes),
        axes=axes,
        reduce_axes=tuple(Axis(axis.name, "int32", extents[axis.name]) for axis in old.reduce_axes),
        body=body,
        attributes={**old.attributes, hints.NO_SPLIT_AT_OUTER: tuple(c.class_axis for c in found)},
    )
