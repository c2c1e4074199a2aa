"""Whatever rule is applied wherever it matches, the graph computes what it did."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, note
from hypothesis import strategies as st

from runtime.graph import Graph, GraphBuilder
from taso_mini.axioms import AXIOMS, LEMMAS, WRONG
from taso_mini.conditions import holds
from taso_mini.costs import FlopCost
from taso_mini.matching import Matcher, directed, patterns
from taso_mini.optimizer import optimize
from taso_mini.rewriting import Attempts, all_attempts, all_rewrites, inherit
from taso_mini.rules_text import SHIPPED_RULES, load_rules
from taso_mini.search_graph import SearchGraph
from taso_mini.substitution import Rejection, Rewrite
from taso_mini.targets import CYCLE
from taso_mini.terms import Substitution, Term, subterms
from taso_mini.testing import draw_samples
from tests.strategies import graphs, rewritable

SAMPLE_RULES = load_rules(Path(__file__).with_name("sample_rules.txt"))
EQUATIONS = tuple(Substitution(a.name, (a.left,), (a.right,), a.conditions) for a in AXIOMS + LEMMAS)
SHIPPED = load_rules() if SHIPPED_RULES.exists() else ()
EVERY_RULE = tuple(
    dataclasses.replace(rule, name=f"{origin}-{rule.name}")
    for origin, rules in (("sample", SAMPLE_RULES), ("axiom", EQUATIONS), ("shipped", SHIPPED))
    for rule in directed(rules)
)


def start(graph: Graph) -> SearchGraph:
    return SearchGraph.of(graph, FlopCost())


def same_outputs(before: Graph, after: Graph, rng: np.random.Generator) -> bool:
    feeds = rewritable.feeds(before, rng)
    old, new = before.evaluate(feeds), after.evaluate(feeds)
    whole = all(np.array_equal(w, np.round(w)) for g in (before, after) for w in g.weights.values())  # 1 / 9 is not
    exact = whole and not any(node.operator in graphs.INEXACT for node in before.nodes)
    rtol = 1e-4 if "float32" in {array.dtype.name for array in old.values()} else 1e-12
    return all(
        np.array_equal(old[v], new[v]) if exact else np.allclose(old[v], new[v], rtol, rtol, equal_nan=True)
        for v in old
    )


@pytest.mark.parametrize("rule", EVERY_RULE, ids=lambda rule: rule.name)
def test_a_rule_fires_on_its_own_source_and_keeps_the_outputs(rule):
    rng = np.random.default_rng(7)
    fired = tried = 0
    for sample in draw_samples(rule.source, rule.target, rng=rng, draws=4):
        if not sample.defined or not all(holds(c, sample.shapes, sample.params) for c in rule.conditions):
            continue
        graph, roots = rewritable.source_graph(rule, sample.shapes, sample.params, rng)
        if any(graph.producer(root) is None for root in roots) or len(set(roots)) < len(rule.source):
            continue
        search = start(graph)
        if any(root in search.values.constant for root in roots):
            continue  # weights alone: computed once and for all, as it is
        tried += 1
        rewrites = all_rewrites(search, Matcher([rule]))
        fired += any(set(rewrite.match.roots) == set(roots) for rewrite in rewrites.values())
        for rewrite in rewrites.values():
            changed = search.apply(rewrite.change)
            if changed.in_order() is not None:
                after = changed.to_graph()
                assert same_outputs(graph, after, rng), f"{rule}\n{graph}\n{after}"
    assert fired or not tried or multiplies_scalars(rule), f"{rule} never fired in {tried} graphs"


def multiplies_scalars(rule: Substitution) -> bool:
    """Whether the rule tells two scalars times each other from a scalar times a scalar; in a graph both are `mul`."""
    scaled = [node for node in subterms(*rule.source, *rule.target) if node.operator in ("smul", "mul")]
    return any(infer_kind(node.args[0]) == "scalar" for node in scaled)


def infer_kind(node: Term) -> str:
    return node.kind if node.is_variable else infer_kind(node.args[0]) if node.operator in ("smul", "mul") else "tensor"


@pytest.mark.parametrize("axiom", WRONG, ids=lambda axiom: axiom.name)
def test_wrong_rules_are_noticed(axiom):
    """The test above can fail: on every equation known to be wrong some graph changes its outputs, or none is built."""
    rule, rng = Substitution(axiom.name, (axiom.left,), (axiom.right,)), np.random.default_rng(3)
    fired = wrong = 0
    for sample in draw_samples(rule.source, rule.target, rng=rng, draws=10):
        graph, _ = rewritable.source_graph(rule, sample.shapes, sample.params, rng)
        search = start(graph)
        for rewrite in all_rewrites(search, Matcher([rule])).values() if patterns(rule) else ():
            fired += 1
            wrong += not same_outputs(graph, search.apply(rewrite.change).to_graph(), rng)
    assert wrong or not fired or axiom.name == "concat-associates"  # wrong for split trees only: the values are equal


@given(rewritable.networks(), st.randoms(use_true_random=False))
def test_random_rewrites_keep_the_outputs(graph, random):
    walk(graph, EVERY_RULE, random, steps=4)


@given(graphs.graphs(max_nodes=6), st.randoms(use_true_random=False))
def test_random_rewrites_keep_the_outputs_of_any_graph(graph, random):
    walk(graph, EVERY_RULE, random, steps=2)


def walk(graph: Graph, rules, random, steps: int) -> None:
    """Apply random rewrites; after each the outputs and everything that is kept incrementally must be right."""
    matcher = Matcher(rules)
    search = start(graph)
    attempts = all_attempts(search, matcher)
    for step in range(steps):
        rewrites = {key: found for key, found in attempts.items() if isinstance(found, Rewrite)}
        if not rewrites:
            return
        chosen = rewrites[random.choice(sorted(rewrites))]
        after = search.apply(chosen.change)
        assert after.has_cycle() == (after.in_order() is None)
        if after.has_cycle():
            continue
        note(f"{chosen.match.rule.name} at {chosen.match.roots}")
        assert after.fingerprint == (search.fingerprint + chosen.change.fingerprint) % 2**64
        rebuilt = start(after.to_graph())
        assert rebuilt.cost == after.cost == search.cost + chosen.change.cost
        assert {v: rebuilt.uses(v) for v in rebuilt.readers} == {v: after.uses(v) for v in after.readers}
        inherited = inherit(attempts, chosen.change, after, matcher)
        assert describe(inherited) == describe(all_attempts(after, matcher))
        assert same_outputs(graph, after.to_graph(), np.random.default_rng(step))
        search, attempts = after, inherited


def describe(attempts: Attempts):
    """What comes of every match, in a form that can be compared."""
    return {
        key: (set(found.change.added), set(found.change.removed)) if isinstance(found, Rewrite) else found.reason
        for key, found in attempts.items()
    }


def conv_pair(groups: int) -> Graph:
    build = GraphBuilder("pair")
    x, ones = build.input("x", (1, 4, 5, 5)), np.ones((4, 4 // groups, 3, 3), np.float32)
    made = [build.add("conv", x, build.weight(f"w{i}", ones), groups=groups, activation="relu") for i in range(2)]
    return build.finish(made)


def test_convolutions_merge_only_without_groups():
    merge = next(rule for rule in SAMPLE_RULES if rule.name == "conv-conv-is-split-conv-concat")
    assert len(all_rewrites(start(conv_pair(groups=1)), Matcher([merge]))) == 1  # one order of the pair
    assert not all_rewrites(start(conv_pair(groups=2)), Matcher([merge]))


def test_convolutions_that_feed_each_other_would_close_a_cycle():
    build = GraphBuilder("chain")
    x, w = build.input("x", (4, 4)), build.weight("w", np.ones((4, 4), np.float32))
    first = build.add("matmul", x, w)
    second = build.add("matmul", x, build.add("matmul", first, w))
    search = start(build.finish([first, second]))
    merge = next(rule for rule in SAMPLE_RULES if rule.name == "matmul-matmul-is-split-matmul-concat")
    (attempt,) = all_attempts(search, Matcher([merge])).values()
    assert isinstance(attempt, Rejection) and attempt.reason == CYCLE


def test_a_long_cycle_shows_when_the_graph_is_built():
    """As the one before, with more between the two products than is looked at when the rewrite is judged."""
    build = GraphBuilder("long")
    x, w = build.input("x", (4, 4)), build.weight("w", np.ones((4, 4), np.float32))
    first = y = build.add("matmul", x, w)
    for _ in range(40):
        y = build.add("relu", y)
    graph = build.finish([first, build.add("matmul", x, y)])
    merge = next(rule for rule in SAMPLE_RULES if rule.name == "matmul-matmul-is-split-matmul-concat")
    search = start(graph)
    (rewrite,) = all_rewrites(search, Matcher([merge])).values()
    after = search.apply(rewrite.change)
    assert after.has_cycle() and after.in_order() is None
    assert optimize(graph, [merge], budget=10).trace.rules == {}


def test_an_intermediate_value_that_is_an_output_stays():
    build = GraphBuilder("both")
    x = build.input("x", (1, 2, 3, 3))
    conv = build.add("conv", x, build.weight("w", np.ones((2, 2, 1, 1), np.float32)))
    graph = build.finish([conv, build.add("relu", conv)])
    search = start(graph)
    (rewrite,) = all_rewrites(search, Matcher(SAMPLE_RULES)).values()
    after = search.apply(rewrite.change).to_graph()
    assert [node["activation"] for node in after.nodes if node.operator == "conv"] == ["none", "relu"]
    assert after.outputs == graph.outputs


def test_weights_stay_weights():
    """A factor that depends on the image, as in squeeze-and-excitation, does not go into the kernel."""
    fold = next(rule for rule in SAMPLE_RULES if rule.name == "scale-conv-is-conv-scale-kernel")
    for factor, fires in (("weight", True), ("input", False)):
        build = GraphBuilder("excite")
        conv = build.add("conv", build.input("x", (1, 2, 3, 3)), build.weight("w", np.ones((2, 2, 1, 1), np.float32)))
        ones = np.ones((1, 2, 1, 1), np.float32)
        s = build.weight("s", ones) if factor == "weight" else build.input("s", ones.shape)
        search = start(build.finish(build.add("mul", conv, s)))
        assert bool(all_rewrites(search, Matcher([fold]))) == fires


def test_broadcasting_and_batched_operators_are_opaque():
    build = GraphBuilder("opaque")
    x, row = build.input("x", (2, 3, 4)), build.input("row", (4,))
    square = build.input("square", (4, 4))
    values = [build.add("add", x, row), build.add("matmul", x, square), build.add("mul", row, x)]
    search = start(build.finish(values))
    assert [search.application(value) for value in values] == [None, None, None]


def test_rules_of_one_name_are_refused():
    with pytest.raises(ValueError, match="unique names"):
        Matcher([SAMPLE_RULES[0], SAMPLE_RULES[0]])


def test_rules_without_a_hold_have_no_pattern():
    undo = next(rule for rule in EQUATIONS if rule.name == "transpose-transpose")
    assert patterns(undo) and not directed([undo])[1:]
