"""Check axioms against the operators' definitions on all small shapes.

Paper: TASO §3. The lists of instances are the published ones, all lengths from 1 to 4 in up to four axes, windows 1
and 3, strides 1 and 2 and both paddings, with every number of groups that fits beside the paper's one group, and a
shorter list of what the published validation leaves out: vectors and scalars, dilations, explicit paddings, even pool
windows. For every instance at which both sides are defined with equal dims, both are computed on random elements of a
finite field and compared, split trees included: an axiom between tensors that split differently would make any two
tensors equal.

An axiom's conditions must not only suffice. Instances that they exclude are computed too, and counted as false or true:
a condition that excludes much that is true is stricter than it needs to be.

>>> from taso_mini.axioms import WRONG
>>> str(validate(WRONG[0], largest=2))
'refuted  matmul-commutes: 2 instances, fails at m1 (2, 2), m2 (2, 2)'
"""

from __future__ import annotations

import ast
import itertools
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial

import numpy as np

from taso_mini.axioms import Axiom
from taso_mini.conditions import holds
from taso_mini.kinds import least_kinds
from taso_mini.numbered_values import NumberedValues, SmallField
from taso_mini.shape_search import Assignment, ShapeSearch, leaf_name, leaves
from taso_mini.shape_table import ShapeTable
from taso_mini.shapes import Shape
from taso_mini.terms import Term, bind_parameters, parameter_variables, rewrite, variable

Instance = tuple[Assignment, dict[str, Hashable]]
Pair = tuple[int, int]

_UNIT = (1, 1)
_STRIDES: tuple[Pair, ...] = ((1, 1), (1, 2), (2, 1), (2, 2))


@dataclass(frozen=True)
class InstanceList:
    """Which shapes and parameters an axiom is tried with.

    Attributes:
        images: the lengths of an image's axes.
        kernels: the same for a kernel.
        lengths: of every axis of all other tensors.
        ranks: of tensors of any rank.
        parameters: the values of each parameter variable; all combinations.
    """

    images: tuple[Sequence[int], ...]
    kernels: tuple[Sequence[int], ...]
    lengths: Sequence[int]
    ranks: Sequence[int]
    parameters: Mapping[str, Sequence[Hashable]]

    def shapes(self, kind: str, rank: int) -> list[Shape]:
        """Return all shapes of a kind."""
        axes = {
            "image": self.images,
            "kernel": self.kernels,
            "vector": (self.lengths,),
            "scalar": (),
            "matrix": (self.lengths,) * 2,
            "tensor": (self.lengths,) * rank,
        }[kind]
        return [Shape(dims) for dims in itertools.product(*axes)]

    def constant_shapes(self, constant: Term, rank: int) -> list[Shape]:
        """Return the shapes that a constant might have; those that it cannot have are left out later."""
        if constant.operator in ("Cpool", "Iconv"):
            window = constant.param("kernel")
            assert isinstance(window, tuple)
            outputs, inputs = self.images[1], (1, *self.images[1])
            return [Shape((o, i, *window)) for o in outputs for i in dict.fromkeys(inputs)]
        return self.shapes("matrix" if constant.operator == "Imatmul" else "tensor", rank)


def instance_lists(axiom: Axiom, largest: int = 4) -> tuple[InstanceList, InstanceList]:
    """Return the published list, with lengths up to `largest`, and a short one of what it leaves out.

    Axioms that are not the published ones, of which some have one more free tensor, get fewer image sizes.
    """
    upto, odd = tuple(range(1, largest + 1)), (1, 3)
    few = upto[:3]
    published = InstanceList(
        images=(upto,) * 4 if axiom.number else (upto[:2], few, upto[:3:2], (1, largest)[:largest]),
        kernels=(upto, upto, odd, odd) if axiom.number else (few, few, odd, odd),
        lengths=upto,
        ranks=(2, 3, 4),
        parameters={
            "s": _STRIDES,
            "d": (_UNIT,),
            "p": ("same", (0, 0, 0, 0)),
            "a": (0, 1, 2, 3),
            "f": ("none", "relu"),
            "k": tuple(itertools.product(odd, odd)),
        },
    )
    more = InstanceList(
        images=((2,), (1, 2), (2, 4), (3,)),
        kernels=((1, 2), (1, 2), (1, 2, 3), (1, 2)),
        lengths=upto,
        ranks=(0, 1),
        parameters={
            "s": (_UNIT, (2, 1)),
            "d": (_UNIT, (1, 2)),
            "p": ((1, 1, 0, 1), (0, 1, 1, 0)),
            "a": (0,),
            "f": ("relu", "none"),
            "k": ((2, 2), (3, 2)),
        },
    )
    return published, more


@dataclass(frozen=True)
class Validation:
    """The outcome for one axiom.

    Attributes:
        instances: how many were checked where the axiom speaks.
        excluded: how many more its conditions exclude, and
        needlessly: how many of those are true.
        failure: the first instance that is false although the conditions hold, if any.
    """

    axiom: Axiom
    instances: int
    excluded: int = 0
    needlessly: int = 0
    failure: Instance | None = None

    @property
    def holds(self) -> bool:
        """Whether there were instances and none failed."""
        return self.instances > 0 and self.failure is None

    def __str__(self) -> str:
        """Return one line."""
        verdict = "holds   " if self.holds else "refuted "
        text = f"{verdict} {self.axiom.name}: {self.instances} instances"
        if self.excluded:
            text += f", {self.excluded} excluded by its conditions ({self.needlessly} of them true)"
        if self.failure:
            shapes, params = self.failure
            given = [f"{name} {shape.dims}" for name, shape in shapes.items()]
            text += ", fails at " + ", ".join(given + [f"{name}={value}" for name, value in params.items()])
        return text


class TypedAxiom:
    """An axiom whose variables have their least kinds: what shapes they may have is known then."""

    def __init__(self, axiom: Axiom, table: ShapeTable) -> None:
        """Rewrite both sides; remember shapes in the table."""
        kinds, self.table = least_kinds([axiom.left, axiom.right]), table
        self.left, self.right = (
            rewrite(side, lambda node: variable(node.name, kinds[node]) if node in kinds else None)
            for side in (axiom.left, axiom.right)
        )

    def searches(self, given: InstanceList) -> Iterator[tuple[ShapeSearch, dict[str, Hashable]]]:
        """Yield a search for every choice of parameters and of the rank of tensors of any rank."""
        names = parameter_variables(self.left, self.right)
        for values in itertools.product(*(given.parameters[name] for name in names)):
            params = dict(zip(names, values, strict=True))
            found = leaves(*(bind_parameters(side, params) for side in (self.left, self.right)))
            any_rank = any((leaf.is_variable and leaf.kind == "tensor") or leaf.operator == "Iewmul" for leaf in found)
            for rank in given.ranks if any_rank else (0,):
                choices = {
                    leaf_name(leaf): given.shapes(leaf.kind, rank)
                    if leaf.is_variable
                    else given.constant_shapes(leaf, rank)
                    for leaf in found
                }
                if all(choices.values()):
                    yield (
                        ShapeSearch(
                            [self.left, self.right], choices, params, alike=[(self.left, self.right)], table=self.table
                        ),
                        params,
                    )


def instances(axiom: Axiom, *, largest: int = 4) -> Iterator[Instance]:
    """Yield every choice of small shapes and parameters at which both sides are defined and the conditions hold."""
    typed = TypedAxiom(axiom, ShapeTable())
    for given in instance_lists(axiom, largest):
        for search, params in typed.searches(given):
            for shapes in search.all():
                if all(holds(condition, shapes, params) for condition in axiom.conditions):
                    yield shapes, params


class _Conditions:
    """An axiom's conditions, whose answers are remembered for the shapes of the leaves that they mention."""

    def __init__(self, conditions: Sequence[str]) -> None:
        """Note which names each condition mentions."""
        self._mentioned = {
            condition: {node.id for node in ast.walk(ast.parse(condition)) if isinstance(node, ast.Name)}
            for condition in conditions
        }
        self._answers: dict[tuple[Hashable, ...], bool] = {}

    def test(self, search: ShapeSearch, params: Mapping[str, Hashable]) -> Callable[[list[int]], bool]:
        """Return a function that says whether all hold for shape numbers of this search."""
        tests = []
        for condition, names in self._mentioned.items():
            slots = [slot for slot, leaf in enumerate(search.leaves) if leaf.is_constant or leaf_name(leaf) in names]
            used = tuple((name, value) for name, value in params.items() if name in names)
            tests.append((condition, used, slots))
        answers = self._answers

        def holding(known: list[int]) -> bool:
            for condition, used, slots in tests:
                key = (condition, used, *[known[slot] for slot in slots])
                if key not in answers:
                    answers[key] = holds(condition, search.assignment(known), params)
                if not answers[key]:
                    return False
            return True

        return holding


def validate(
    axiom: Axiom, *, largest: int = 3, limit: int | None = None, table: ShapeTable | None = None
) -> Validation:
    """Check an axiom on its instances, or on every n-th so that about `limit` remain; stop at the first failure."""
    typed, rng = TypedAxiom(axiom, table or ShapeTable()), np.random.default_rng(0)
    conditions, step = _Conditions(axiom.conditions), 1
    if limit is not None:
        total = sum(
            1
            for given in instance_lists(axiom, largest)
            for search, _ in typed.searches(given)
            for _ in search.numbered()
        )
        step = max(1, total // limit)
    inside = excluded = needlessly = 0
    for given in instance_lists(axiom, largest):
        values = NumberedValues(SmallField(), typed.table, rng)
        for search, params in typed.searches(given):
            condition_holds = conditions.test(search, params)
            equal = values.comparison(search, bind_parameters(typed.left, params), bind_parameters(typed.right, params))
            for known in itertools.islice(search.numbered(), 0, None, step):
                agree = equal(known)
                if condition_holds(known):
                    inside += 1
                    if not agree:
                        return Validation(axiom, inside, excluded, needlessly, (search.assignment(known), params))
                else:
                    excluded += 1
                    needlessly += agree
    return Validation(axiom, inside, excluded, needlessly)


def validate_all(
    axioms: Sequence[Axiom], *, largest: int = 3, limit: int | None = None, executor: Executor | None = None
) -> Iterator[Validation]:
    """Validate axioms one by one, in this process (shape rules are remembered between axioms) or by an executor."""
    if executor is not None:
        yield from executor.map(partial(validate, largest=largest, limit=limit), axioms)
        return
    table = ShapeTable()
    for axiom in axioms:
        yield validate(axiom, largest=largest, limit=limit, table=table)
