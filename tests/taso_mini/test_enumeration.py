"""The enumeration finds exactly the published generator's space, and nothing depends on how the work is split."""

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from taso_mini.enumeration.connected import connected
from taso_mini.enumeration.forms import LocalPairs, Pairs, by_value, normal_forms
from taso_mini.enumeration.funnel import _instances, firsts, is_instance, prune
from taso_mini.enumeration.graph_sets import (
    equal_pairs,
    every_graph,
    graph_fingerprints,
    ordered_graphs,
    share_leaf,
    sinks,
)
from taso_mini.enumeration.growth import grow
from taso_mini.enumeration.last_level import Plan, make_part, part_count
from taso_mini.enumeration.meeting import connected_graphs, find_partners, meet
from taso_mini.enumeration.pairing import pair_graphs
from taso_mini.enumeration.roles import NEVER, find_roles
from taso_mini.enumeration.search import search
from taso_mini.enumeration.space import Input, Space, Template, published
from taso_mini.enumeration.surrogates import BITS, SURROGATES, apply, reduced
from taso_mini.enumeration.tensor_types import contiguous, result_types
from taso_mini.enumeration.term_table import PAD, TermTable
from taso_mini.shapes import Shape

MEASURED = {  # with the published generator's own functions for relu and pools
    2: {
        "graphs": [70, 5391],
        "ordered": [228, 57947],
        "fingerprints": 5353,
        "pairs": 134,
        "no common leaf": 126,
        "aware": 81,
        "blind": 38,
        "funnel": [126, 81, 38, 30, 30, 29],
    },
    3: {
        "graphs": [70, 5391, 431387],
        "ordered": [228, 57947, 16347235],
        "fingerprints": 417257,
        "pairs": 27353,
        "no common leaf": 6643,
        "aware": 3335,
        "blind": 1763,
        "funnel": [6643, 3335, 1763, 913, 871, 689],
    },
}


def grown(operators, space=None, seed=0, representatives=False):
    table = TermTable(space or published(), seed, operators)
    for size in range(1, operators + 1):
        grow(table, size, last=size == operators, keep_values=size < operators, representatives=representatives)
    return table


def two_matrices(*operators):
    templates = [
        one
        for one in published().templates
        if one.operator in operators and one.param("rank") != 4 and one.param("axis") != 0
    ]
    return Space("two matrices", (Input("a", "matrix", (3, 3), 0), Input("b", "matrix", (3, 3), 0)), tuple(templates))


def same(one, other):
    return all(
        np.array_equal(getattr(one, name), getattr(other, name)) for name in ("source", "target", "outputs", "results")
    )


@pytest.fixture(scope="module", params=[2, 3])
def table(request):
    return grown(request.param)


@pytest.fixture(scope="module")
def every_pair(table):
    return pairs_of_all_graphs(table)


def pairs_of_all_graphs(table):
    """Count all graphs, and pair those of equal value."""
    counts, ordered, kept = [0] * table.width, [0] * table.width, []
    for size, rows in every_graph(table):
        counts[size - 1] += len(rows)
        ordered[size - 1] += ordered_graphs(table, rows)
        kept.append(rows)
    rows = np.concatenate(kept)
    outputs = sinks(table, rows)
    i, j = equal_pairs(table, rows, outputs)
    most = max(int((outputs != PAD).sum(axis=1).max()), 1)
    apart = ~share_leaf(table, rows[i], rows[j])
    i, j = i[apart], j[apart]
    pairs = Pairs(rows[i], rows[j], by_value(table, outputs[i], most), by_value(table, outputs[j], most))
    return counts, ordered, len(np.unique(graph_fingerprints(table, outputs))), len(apart), pairs


def test_every_graph_of_the_published_generator_is_counted_once(table, every_pair):
    measured = MEASURED[table.width]
    counts, ordered, fingerprints, equal, pairs = every_pair
    assert counts == measured["graphs"] and ordered == measured["ordered"]
    assert fingerprints == measured["fingerprints"] and equal == measured["pairs"]
    assert len(pairs) == measured["no common leaf"]
    local = LocalPairs(table, pairs)
    assert len(firsts(normal_forms(local, aware=True))) == measured["aware"]
    assert len(firsts(normal_forms(local, aware=False))) == measured["blind"]
    assert list(prune(table, pairs)[1].values()) == measured["funnel"]


def test_meeting_in_the_middle_loses_only_unions(table, every_pair):
    """All pairs that some connected graph takes part in are found, so pruning ends with the same rules."""
    *_, pairs = every_pair
    partners = find_partners(table)
    graphs = connected_graphs(table, partners)
    met = meet(table, partners, graphs)
    assert (len(graphs), len(met)) == {2: (177, 126), 3: (8424, 6552)}[table.width]
    kept = [prune(table, one)[0] for one in (pairs, met)]
    forms = [set(normal_forms(LocalPairs(table, one), aware=False).tolist()) for one in kept]
    assert forms[0] == forms[1] and len(forms[0]) == MEASURED[table.width]["funnel"][-1]


@pytest.mark.parametrize(
    ("operators", "size", "rules"),
    [
        (("relu", "transpose", "matmul"), 4, 2192),
        (("add", "mul"), 4, 1),
        (("concat", "split", "relu"), 5, 55),
        (("add", "relu"), 5, 0),
    ],
    ids=str,
)
def test_meeting_in_the_middle_finds_all_rules_of_four_and_five_operators(operators, size, rules):
    space = two_matrices(*operators)
    table = grown(size, space)
    *_, pairs = pairs_of_all_graphs(table)
    found = search(Plan(space, size))
    forms = [
        set(normal_forms(LocalPairs(one, some), aware=False).tolist())
        for one, some in ((table, prune(table, pairs)[0]), (found.table, found.pairs))
    ]
    assert forms[0] == forms[1] and len(forms[0]) == rules


@pytest.mark.parametrize(
    ("operators", "size", "representatives"),
    [
        (None, 2, False),
        (None, 3, False),
        (None, 3, True),
        (("relu", "transpose", "matmul"), 4, False),
        (("concat", "split", "relu"), 5, False),
        (("concat", "split", "relu"), 5, True),
    ],
    ids=str,
)
def test_grouping_finds_the_pairs_of_meeting_in_the_middle(operators, size, representatives):
    space = two_matrices(*operators) if operators else published(surrogates="sound")
    table = grown(size, space, representatives=representatives)
    partners = find_partners(table)
    plain = meet(table, partners, connected_graphs(table, partners))
    roles = find_roles(table)
    assert ((partners.count > 0) == roles.alone).all() and roles.classes == partners.classes
    steps = []
    grouped = pair_graphs(table, roles, connected(table, roles), tell=lambda *step: steps.append(step))
    assert len(plain) and same(plain, grouped)
    assert steps[-1][1] == steps[-1][2] and "pairs so far" in steps[0][0]


def test_outputs_beside_others_have_small_partners():
    """Partners of the largest size count only where an unused half of a split is an output too."""
    table = grown(3)
    roles = find_roles(table)
    partners = find_partners(table)
    for tensor in np.flatnonzero(roles.alone)[::50]:
        some = partners.others[partners.start[tensor] :][: partners.count[tensor]]
        beside = [
            int(table.size[n])
            for n in table.node[some]
            if table.size[n] < 3 or (sinks(table, table.closure[n : n + 1]) != PAD).sum() > 1
        ]
        assert roles.least[tensor] == min(beside, default=NEVER)


def test_instances_are_found_among_rules_of_one_skeleton():
    table = grown(3)
    partners = find_partners(table)
    local = LocalPairs(table, meet(table, partners, connected_graphs(table, partners)))
    forms = normal_forms(local, aware=False)
    rows = firsts(forms)
    local, forms = local.take(rows), forms[rows]
    order = np.argsort(forms)
    every = _instances(local, np.zeros(len(forms), dtype=int), forms[order], (local.templates != -1).sum(axis=1)[order])
    assert set(order[every]) == set(np.flatnonzero(is_instance(local, forms))) and len(every) > 100


def test_search_counts_and_repeats():
    first, second = (search(Plan(published(), 3)) for _ in range(2))
    assert first.counts == second.counts
    assert (first.counts["terms"], first.counts["classes"], first.counts["no instance of another"]) == (
        61968,
        54351,
        689,
    )
    assert (first.pairs.source == second.pairs.source).all() and (first.pairs.target == second.pairs.target).all()


@pytest.mark.parametrize("representatives", [False, True])
def test_the_same_rules_however_many_share_the_work(representatives):
    plan = Plan(published(surrogates="sound"), 2, representatives=representatives, seed=3)
    alone = search(plan)
    with ThreadPoolExecutor(1) as pool:
        shared = search(plan, executor=pool)
    assert alone.counts == shared.counts
    for name in ("source", "target", "outputs", "results"):
        assert (getattr(alone.pairs, name) == getattr(shared.pairs, name)).all()


@pytest.mark.slow
def test_two_local_dask_workers_find_the_same_rules_bit_for_bit():
    distributed = pytest.importorskip("distributed")
    plan = Plan(published(), 3)
    alone = search(plan)
    with distributed.Client(n_workers=2, threads_per_worker=1, dashboard_address=None) as client:
        shared = search(plan, executor=client.get_executor())
    assert alone.counts == shared.counts
    assert (alone.pairs.source == shared.pairs.source).all() and (alone.pairs.target == shared.pairs.target).all()


def watched(plan, folder):
    steps = []
    return search(plan, folder=folder, progress=lambda *step: steps.append(step)), steps


def test_an_interrupted_search_goes_on_from_its_folder(tmp_path):
    plan = Plan(published(), 3)
    whole = search(plan, folder=tmp_path)
    names = {path.stem: path for path in tmp_path.glob("*/*.npz")}
    parts = [f"part-{number:05d}" for number in range(part_count(plan))]
    assert set(names) == {*parts, "largest", "graphs-2", "pairs"}
    lost = ["pairs", "graphs-2", "largest", parts[0]]  # the later first: a search that was cut off ever earlier
    for count in range(len(lost) + 1):
        for name in lost[:count]:
            names[name].unlink()
        written = {name: names[name].stat().st_mtime_ns for name in names if name not in lost[:count]}
        again, steps = watched(plan, tmp_path)
        assert again.counts == whole.counts and same(again.pairs, whole.pairs)
        assert written == {name: names[name].stat().st_mtime_ns for name in written}
        assert all(path.exists() for path in names.values())
        grown_again = (f"growing terms of {plan.operators} operators", part_count(plan), part_count(plan)) in steps
        assert grown_again == ("largest" in lost[:count])


def test_parts_leave_no_values_behind():
    plan = Plan(published(), 3)
    one, again = make_part(plan, 0), make_part(plan, 0)
    assert (one.fingerprints == again.fingerprints).all() and len(one.others) == (one.outputs == 2).sum()


def test_seeds_agree_and_sound_surrogates_lose_nothing_at_two_operators():
    forms = []
    for surrogates, seed in (("published", 0), ("sound", 0), ("sound", 1)):
        found = search(Plan(published(surrogates=surrogates), 2, seed=seed))
        forms.append(set(normal_forms(LocalPairs(found.table, found.pairs), aware=False).tolist()))
    assert forms[0] == forms[1] == forms[2] and len(forms[0]) == 29


def test_values_agree_with_plain_integers():
    """Products modulo 2**BITS in float64 are those of unbounded integers."""
    rng = np.random.default_rng(0)
    sound = SURROGATES["sound"]
    x, w = (rng.integers(-(2**30), 2**30, size=dims, dtype=np.int32) for dims in ((3, 2, 8, 5, 5), (3, 4, 4, 3, 3)))
    template = Template(
        "conv",
        (("activation", "none"), ("dilations", (1, 1)), ("kernel", (3, 3)), ("padding", "same"), ("strides", (1, 1))),
    )
    given = tuple(contiguous(Shape(one.shape[1:])) for one in (x, w))
    (result,) = apply(template, sound, given, x, w)
    assert result.shape[1:] == result_types(template, *given)[0].dims
    wide = np.pad(x.astype(object), ((0, 0), (0, 0), (0, 0), (1, 1), (1, 1)))
    for batch, n, o, row, column in rng.integers(0, (3, 2, 4, 5, 5), size=(20, 5)):
        group = o // 2
        window = wide[batch, n, group * 4 : group * 4 + 4, row : row + 3, column : column + 3]
        exact = int((window * w[batch, o].astype(object)).sum())
        assert (exact - int(result[batch, n, o, row, column])) % 2**BITS == 0
    y = reduced(x, 4)
    assert abs(y).max() <= 2 ** (BITS - 1) and (((y - x) & (2**BITS - 1)) == 0).all()


def test_reductions_are_terms_that_equal_a_part_of_themselves():
    found = search(Plan(published().only("transpose"), 2))
    table = found.table
    shown = {
        (str(table.space.templates[t].param("copy")), table.space.inputs[equal].name)
        for t, _, _, _, equal in found.reductions
    }
    assert ("False", "x1") in shown and ("True", "w1") in shown


def test_spaces_refuse_nonsense():
    with pytest.raises(ValueError, match="families in order"):
        Space("s", (Input("a", "matrix", (2, 2), 1), Input("b", "matrix", (2, 2), 0)), ())
    with pytest.raises(ValueError, match="one twice"):
        Space("s", (), (Template("add"), Template("add")))
    with pytest.raises(ValueError, match="at least 1"):
        Plan(published(), 0)
    with pytest.raises(ValueError, match="at least 1 per family"):
        published(0)
    with pytest.raises(ValueError, match="expected one of"):
        result_types(Template("sigmoid"), contiguous(Shape((2,))))


def test_the_counting_formula_is_the_number_of_orders_and_names():
    space = published().only("relu")
    table = grown(2, space)
    rows = np.concatenate([rows for _, rows in every_graph(table)])
    inputs = len(space.inputs)
    # one relu; then two relus of different inputs in either order, or one upon the other
    assert ordered_graphs(table, rows) == inputs + math.comb(inputs, 2) * 2 + inputs
