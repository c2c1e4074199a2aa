"""What a set of axioms says about itself: which follow from others, and whether two of them contradict.

Paper: TASO §3, §7.6, where Z3 is asked whether an axiom is entailed by the others. Here an axiom is *redundant* when
the prover derives it from the others. Some derivations pass through terms of which neither side says anything, so the
search starts with `transpose(transpose(t))`, `matmul(t, Imatmul())` and pools as convolutions beside the axiom's terms.

Equations alone never contradict: a world of one tensor satisfies them all. So a set is called contradictory when it
makes any two tensors equal. The search for that starts with the axioms' own terms, on all choices from three variables,
and with what takes them apart (`split0` of a `concat`), and looks whether two variables have become equal.

>>> from taso_mini.axioms import AXIOMS, WRONG
>>> associates = next(axiom for axiom in WRONG if axiom.name == "concat-associates")
>>> found = contradiction((*AXIOMS[:2], *[a for a in AXIOMS if a.name.startswith("split")], associates))
>>> found.core
('split0-concat', 'split1-concat', 'concat-associates')
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from taso_mini.axioms import Axiom
from taso_mini.proving.egraph import UntypedEGraph
from taso_mini.proving.obligations import World
from taso_mini.proving.prover import Proof, constant_outputs
from taso_mini.proving.search import Search, ways
from taso_mini.proving.symbolic_shapes import Unknown
from taso_mini.terms import (
    Substitution,
    Term,
    bind_parameters,
    parameter_variables,
    substitute,
    subterms,
    term,
    variable,
    variables,
)

_MOST_NODES = 1500
_PERM = (1, 0)


@dataclass(frozen=True)
class Contradiction:
    """Axioms from which any two tensors are equal: none can be left out. `proof` leads from one variable to another."""

    core: tuple[str, ...]
    proof: Proof

    def __str__(self) -> str:
        """Return the core and the chain."""
        return f"contradictory: {', '.join(self.core)}\n{self.proof}"


def require_consistent(axioms: Sequence[Axiom], suspects: Iterable[Axiom] | None = None) -> None:
    """Raise ValueError, with a minimal core, when axioms are found to make any two tensors equal."""
    found = contradiction(axioms, suspects)
    if found is not None:
        raise ValueError(
            f"axioms: expected a consistent set, got {', '.join(found.core)}, from which any two tensors "
            f"are equal: "
            + " = ".join(str(step.before) for step in found.proof.steps)
            + f" = {found.proof.steps[-1].after}"
        )


def contradiction(axioms: Sequence[Axiom], suspects: Iterable[Axiom] | None = None) -> Contradiction | None:
    """Look for a proof that any two tensors are equal; None when none was found.

    Args:
        axioms: the set.
        suspects: those whose terms the search starts with, one after the other; by default all.
    """
    for suspect in axioms if suspects is None else suspects:
        proof = _collapse(axioms, suspect)
        if proof is not None:
            return _minimal(axioms, suspect, proof)
    return None


def _minimal(axioms: Sequence[Axiom], suspect: Axiom, proof: Proof) -> Contradiction:
    """Leave out what can be left out, one after the other."""
    used = {instance.axiom for instance in proof.instances}
    core = [axiom for axiom in axioms if axiom.name in used]
    for axiom in tuple(core):
        fewer = [other for other in core if other is not axiom]
        shorter = _collapse(fewer, suspect)
        if shorter is not None:
            core, proof = fewer, shorter
    return Contradiction(tuple(axiom.name for axiom in core), proof)


def _collapse(axioms: Sequence[Axiom], suspect: Axiom) -> Proof | None:
    """Return a proof that two variables are equal, from the terms that one axiom brings."""
    graph = UntypedEGraph()
    names = [variable(name, "tensor") for name in ("x1", "x2", "x3")]
    nodes = [graph.add(name) for name in names]
    for root in _beginnings(axioms, suspect, names):
        graph.add(root)
    pairs = list(itertools.combinations(nodes, 2))
    search = Search(graph, ways(axioms), granting=True, most_nodes=_MOST_NODES)
    for _ in range(4):
        more = search.step(pairs)
        for a, b in pairs:
            if graph.find(a) == graph.find(b):
                return Proof(tuple(graph.explain(a, b)))
        if not more:
            return None
    return None


def _beginnings(axioms: Sequence[Axiom], suspect: Axiom, names: Sequence[Term]) -> Iterator[Term]:
    """Yield the sides of the suspect on all choices of variables, and what takes them apart."""
    free = suspect.variables
    apart = [
        (axiom.left, axiom.left.args[0])
        for axiom in axioms
        if axiom.right.is_variable and len(axiom.left.args) == 1 and not axiom.left.args[0].is_variable
    ]
    for choice in itertools.product(names, repeat=min(len(free), 4)):
        binding = dict(zip(free, itertools.chain(choice, itertools.repeat(names[0])), strict=False))
        for side in (suspect.left, suspect.right):
            ground = substitute(bind_parameters(side, _VALUES), binding)
            yield ground
            for destructor, inner in apart:
                if ground.operator == inner.operator:
                    yield Term(destructor.operator, bind_parameters(destructor, _VALUES).params, (ground,))


_VALUES = {"s": (1, 1), "p": (0, 0, 0, 0), "d": (1, 1), "a": 0, "k": (3, 3), "f": "none"}


def redundant(axioms: Sequence[Axiom]) -> dict[str, Proof]:
    """Return the axioms that follow from all the others, each with its derivation."""
    found = {}
    for axiom in axioms:
        proof = derive(axiom, [other for other in axioms if other is not axiom])
        if proof is not None:
            found[axiom.name] = proof
    return found


def derive(axiom: Axiom, axioms: Sequence[Axiom]) -> Proof | None:
    """Derive an axiom from others, for tensors of every size, or return None.

    >>> from taso_mini.axioms import AXIOMS
    >>> proof = derive(next(a for a in AXIOMS if a.number == 34), [a for a in AXIOMS if a.number and a.number != 34])
    >>> sorted({next(a.number for a in AXIOMS if a.name == i.axiom) for i in proof.instances})
    [20, 25, 30, 31, 32, 41]
    """
    left, right = axiom.left, axiom.right
    if not set(variables(right)) <= set(variables(left)):
        left, right = right, left
    rule = Substitution(axiom.name, (left,), (right,))
    proof = None
    for axis in range(4) if "a" in parameter_variables(left, right) else range(1):
        proof = _derive(rule, {"a": axis}, axiom.conditions, axioms)
        if proof is None:
            return None
    return proof


def _derive(
    rule: Substitution, axes: dict[str, int], conditions: Sequence[str], axioms: Sequence[Axiom]
) -> Proof | None:
    for assumed, seeds in _beginnings_of_derivation(rule):
        world = World(rule, axes, (*conditions, *constant_outputs(assumed)), assumed)
        if world.contradictory:
            continue
        graph = world.graph()
        for seed in seeds:
            try:
                graph.add(seed)
            except Unknown:
                continue  # an identity of another size
        goal = graph.add(rule.source[0]), graph.add(rule.target[0])
        if Search(graph, ways(axioms), most_nodes=_MOST_NODES).run([goal]):
            return Proof(tuple(graph.explain(*goal)))
    return None


def _beginnings_of_derivation(rule: Substitution) -> Iterator[tuple[list[Term], list[Term]]]:
    """Yield terms to begin with: those that fix the sizes of constants, and all."""
    yield [], []
    nodes = tuple(subterms(*rule.source, *rule.target))
    matrices = [
        node
        for node in nodes
        if node.operator in ("matmul", "transpose", "Imatmul") or node.is_variable and node.kind == "matrix"
    ]
    if matrices:
        products = [term("matmul", node, term("Imatmul")) for node in matrices]
        twice = [term("transpose", term("transpose", node, perm=_PERM), perm=_PERM) for node in matrices]
        yield [products[0]], products + twice
    pools = [
        term(
            "conv",
            node.args[0],
            term("Cpool", kernel=node.param("kernel")),
            activation="none",
            dilations=(1, 1),
            padding=node.param("padding"),
            strides=node.param("strides"),
        )
        for node in nodes
        if node.operator == "avg_pool"
    ]
    if pools:
        yield pools, pools
