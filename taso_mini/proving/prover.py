"""Prove substitutions from the axioms, with the conditions under which they are true.

Paper: TASO §3. A rule is proved output by output: a chain of instances of axioms leads from the source's term to the
target's. Input: a rule. Output: a `Verdict`.

1. Assume that both sides are defined with equal shapes; if no sizes can do that, the rule says nothing.
2. Search with the axioms whose conditions follow (`search`).
3. If that fails, search with constants as large as the images they meet; with no convolution grouped; then with
   conditions granted.
4. The rule's conditions are those of the steps, and what the target needs to be defined, where they do not follow from
   the source being defined.
5. Check the chains again under just these conditions: each step an instance of its axiom, defined, of equal shape.

>>> from taso_mini.rules_text import parse_rules
>>> rule, = parse_rules('''
... rule sum-of-products
...   variables x1: matrix, x2: matrix, x3: matrix
...   source    add(matmul(x1, x2), matmul(x3, x2))
...   target    matmul(add(x1, x3), x2)
... ''')
>>> verdict = prove(rule)
>>> verdict.kind, verdict.conditions
('proved', ())
>>> print(verdict.proofs[0])
add(matmul(x1, x2), matmul(x3, x2))
  = matmul(add(x1, x3), x2)  by matmul-distributes-left
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from taso_mini.axioms import AXIOMS, LEMMAS, Axiom
from taso_mini.conditions import ungrouped
from taso_mini.operator_set import CONVOLUTIONS
from taso_mini.proving.condition_text import merge_axes, split_axes
from taso_mini.proving.egraph import EGraph, Instance, Step
from taso_mini.proving.obligations import World, check_chain, conditions_of, leaf_ranks
from taso_mini.proving.search import Search, Way, ways
from taso_mini.proving.symbolic_shapes import Unknown
from taso_mini.terms import Substitution, Term, constants, parameter_variables, subterms


@dataclass(frozen=True)
class Proof:
    """Why one output of a source equals the output of the target: a chain of terms."""

    steps: tuple[Step, ...]

    @property
    def instances(self) -> tuple[Instance, ...]:
        """The certificate: the distinct instances of axioms that the chain uses."""
        return tuple(dict.fromkeys(step.instance for step in self.steps))

    def __str__(self) -> str:
        """Return the chain, one term per line."""
        lines = [str(self.steps[0].before)] if self.steps else ["the same term"]
        return "\n".join(lines + [f"  = {step.after}  by {step.instance.axiom}" for step in self.steps])


@dataclass(frozen=True)
class Verdict:
    """What the prover says about a rule.

    Attributes:
        kind: `proved`, `proved under conditions` or `unknown`.
        conditions: what must hold beside that the source is defined.
        proofs: for each output its proof, or None.
        reason: why it is unknown.
    """

    kind: str
    conditions: tuple[str, ...] = ()
    proofs: tuple[Proof | None, ...] = ()
    reason: str = ""

    @property
    def proved(self) -> bool:
        """Whether the rule may be used where its conditions hold."""
        return self.kind != "unknown"

    @property
    def axioms(self) -> tuple[str, ...]:
        """The names of the axioms used."""
        return tuple(dict.fromkeys(i.axiom for proof in self.proofs if proof for i in proof.instances))


class Prover:
    """Proves rules from one set of axioms."""

    def __init__(self, axioms: Sequence[Axiom] = AXIOMS + LEMMAS) -> None:
        """Read the axioms in both directions, once; those without conditions come first."""
        self.axioms = {axiom.name: axiom for axiom in axioms}
        self._plain = ways([axiom for axiom in axioms if not axiom.conditions])
        self._all = ways(axioms)

    def prove(self, rule: Substitution) -> Verdict:
        """Prove a rule for every value of its axis parameter, if it has one."""
        worlds = [(axis, World(rule, {} if axis is None else {"a": axis})) for axis in _axis_values(rule)]
        verdicts = {axis: self._settle(rule, world) for axis, world in worlds if not world.contradictory}
        if not verdicts:
            return Verdict("unknown", proofs=(None,) * len(rule.source), reason="no sizes fit both sides")
        failed = next((verdict for verdict in verdicts.values() if not verdict.proved), None)
        if failed is not None:
            return failed
        conditions = common_conditions(
            {axis: verdict.conditions for axis, verdict in verdicts.items()}, leaf_ranks(rule.source)
        )
        kind = "proved under conditions" if conditions else "proved"
        return Verdict(kind, conditions, next(iter(verdicts.values())).proofs)

    def _settle(self, rule: Substitution, world: World) -> Verdict:
        try:
            return self._prove(rule, world)
        except Unknown as unknown:  # a side asks for what does not follow, such as an odd window of a parameter
            nothing = (None,) * len(rule.source)
            return Verdict("unknown", proofs=nothing, reason=f"a side need not be defined: {unknown}")

    def _prove(self, rule: Substitution, world: World) -> Verdict:
        best: tuple[Proof | None, ...] = (None,) * len(rule.source)
        for graph, granted in self._attempts(rule, world):
            proofs = _proofs(graph, rule)
            if sum(p is not None for p in proofs) > sum(p is not None for p in best):
                best = proofs
            if None not in proofs:
                instances = [i for proof in proofs if proof for i in proof.instances]
                conditions = conditions_of(rule, world, instances)
                if not check_chain(rule, world, conditions, instances, self.axioms):
                    conditions = conditions_of(rule, world, instances, granted)
                    if not check_chain(rule, world, conditions, instances, self.axioms):
                        continue
                return Verdict("proved under conditions" if conditions else "proved", conditions, proofs)
        return Verdict("unknown", proofs=best, reason="no chain of axioms was found")

    def _attempts(self, rule: Substitution, world: World) -> Iterator[tuple[EGraph, tuple[str, ...]]]:
        """Yield graphs in which more and more was assumed, with the conditions that were."""
        graph = world.graph()
        refused = self._search(graph, rule, [self._plain, self._all])
        yield graph, ()
        if not refused:
            return  # nothing more can be found however much is assumed
        groups, shapes = ungrouped([*rule.source, *rule.target]), constant_shapes([*rule.source, *rule.target])
        for granted in dict.fromkeys([*shapes, groups, *(groups + more for more in shapes)]):
            narrow = world.assuming(granted)
            if granted and not narrow.contradictory:
                graph_of_more = narrow.graph()
                self._search(graph_of_more, rule, [self._plain, self._all])
                yield graph_of_more, granted
        if groups:
            self._search(graph, rule, [self._all], granting=True)
            yield graph, ()

    def _search(
        self, graph: EGraph, rule: Substitution, tiers: Sequence[dict[str, list[Way]]], *, granting: bool = False
    ) -> int:
        """Search with one tier of axioms after the other; return how many instances were refused."""
        goals = [(graph.add(old), graph.add(new)) for old, new in zip(rule.source, rule.target, strict=True)]
        refused = 0
        for directions in tiers:
            search = Search(graph, directions, granting=granting)
            if search.run(goals):
                break
            refused += search.refused
        return refused


def _proofs(graph: EGraph, rule: Substitution) -> tuple[Proof | None, ...]:
    found: list[Proof | None] = []
    for old, new in zip(rule.source, rule.target, strict=True):
        a, b = graph.add(old), graph.add(new)
        found.append(Proof(tuple(graph.explain(a, b))) if graph.find(a) == graph.find(b) else None)
    return tuple(found)


def _axis_values(rule: Substitution) -> Sequence[int | None]:
    """Return the values to try for the axis parameter: every axis of a tensor of four; None without that parameter."""
    return range(4) if "a" in parameter_variables(*rule.source) else [None]


def constant_shapes(roots: Sequence[Term]) -> list[tuple[str, ...]]:
    """Return the sizes that constant kernels usually have: an output for each channel, then depthwise, then dense.

    >>> from taso_mini.terms import term, variable
    >>> constant_shapes([term("conv", variable("x1", "image"), term("Cpool", kernel=(3, 3)))])
    [('Cpool(kernel=(3, 3)).shape[0] == x1.shape[1]',)]
    """
    kernels = [node for node in constants(*roots) if node.operator == "Iconv"]
    outputs = constant_outputs(roots)
    depthwise = tuple(f"{kernel}.shape[1] == 1" for kernel in kernels)
    dense = tuple(f"{kernel}.shape[1] == {kernel}.shape[0]" for kernel in kernels)
    found = [outputs] + [outputs + more for more in (depthwise, dense)]
    return [conditions for conditions in dict.fromkeys(found) if conditions]


def constant_outputs(roots: Sequence[Term]) -> tuple[str, ...]:
    """Return the conditions that constant kernels have an output for each channel of what they are applied to."""
    return tuple(
        f"{node.args[1]}.shape[0] == {node.args[0]}.shape[1]"
        for node in subterms(*roots)
        if node.operator in CONVOLUTIONS and node.args[1].is_constant
    )


def common_conditions(found: Mapping[int | None, tuple[str, ...]], ranks: Mapping[Term, int]) -> tuple[str, ...]:
    """Return the conditions for all values of the axis parameter, given those for each value.

    >>> from taso_mini.terms import variable
    >>> each = {0: ("x.shape[0] == y.shape[0]",), 1: ("x.shape[1] == y.shape[1]",)}
    >>> common_conditions(each, {variable(name, "matrix"): 2 for name in "xy"})
    ('x.shape[a] == y.shape[a]',)
    """
    if None in found:
        return found[None]
    split = {axis: [part for c in conditions for part in split_axes(c, ranks)] for axis, conditions in found.items()}
    first = next(iter(split.values()))
    always = [c for c in first if all(c in conditions for conditions in split.values())]
    of_axis = [
        {c.replace(f"[{axis}]", "[a]") for c in conditions if c not in always} for axis, conditions in split.items()
    ]
    if all(conditions == of_axis[0] for conditions in of_axis):
        return (*merge_axes(always, ranks), *sorted(of_axis[0]))
    return tuple(merge_axes(list(dict.fromkeys(c for conditions in split.values() for c in conditions)), ranks))


_DEFAULT: list[Prover] = []


def prove(rule: Substitution) -> Verdict:
    """Prove a rule from the axioms of `taso_mini.axioms`."""
    if not _DEFAULT:
        _DEFAULT.append(Prover())
    return _DEFAULT[0].prove(rule)
