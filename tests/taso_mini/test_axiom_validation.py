"""Instances of axioms: as many as the published lists have, computed as `evaluate` computes them."""

import itertools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from taso_mini.axiom_validation import InstanceList, TypedAxiom, instance_lists, instances, validate, validate_all
from taso_mini.axioms import AXIOMS, LEMMAS, WRONG, Axiom
from taso_mini.numbered_values import NumberedValues, SmallField
from taso_mini.operator_set import evaluate
from taso_mini.rules_text import parse_term
from taso_mini.shape_search import ShapeSearch, leaf_name
from taso_mini.shape_table import ShapeTable
from taso_mini.shapes import Shape
from taso_mini.testing import values_agree

BY_NUMBER = {axiom.number: axiom for axiom in AXIOMS if axiom.number}
BY_NAME = {axiom.name: axiom for axiom in AXIOMS + LEMMAS + WRONG}
# Instances with lengths up to 4, one group: the published validator's lists, counted.
PUBLISHED = {
    **dict.fromkeys((1, 2, 3, 4, 5, 6, 7, 8, 42), 336),
    **dict.fromkeys((9, 16, 30, 34, 35, 41, 43), 16),
    **dict.fromkeys((10, 29, 31, 32), 64),
    **dict.fromkeys((11, 15, 21, 22, 26, 27), 4992),
    **dict.fromkeys((20, 25, 28), 256),
    12: 51200,
    **dict.fromkeys((13, 14, 17, 18, 36, 37, 38), 25600),
    19: 102400,
    23: 204800,
    24: 204800,
    33: 5376,
    39: 6400,
    44: 131072,
    40: 1024 + 768,  # 768 for dense identity kernels, which the published list leaves out
}
GROUPED = {12: 19200, **dict.fromkeys((13, 14, 17, 18), 9600), 19: 19200, 23: 76800, 24: 32000, 44: 49152}


def published(axiom):
    """Return the published list, and nothing of what was added to it."""
    return instance_lists(axiom)[0]


def count(axiom, given: InstanceList):
    """Count one group, and more groups, with the shapes alone."""
    table, counts = ShapeTable(), [0, 0]
    for search, _ in TypedAxiom(axiom, table).searches(given):
        convolutions = [
            tuple(search.slots[a] for a in node.args)
            for node in search.slots
            if node.operator == "conv" and not node.args[1].is_constant
        ]
        for known in search.numbered():
            counts[any(table.shapes[known[x]].dims[1] != table.shapes[known[w]].dims[1] for x, w in convolutions)] += 1
    return counts


def test_the_table_has_all_44_published_axioms():
    assert sorted(BY_NUMBER) == sorted(PUBLISHED) == list(range(1, 45))


@pytest.mark.parametrize("number", [n for n, total in PUBLISHED.items() if total < 2000])
def test_small_published_lists_are_met_exactly(number):
    assert count(BY_NUMBER[number], published(BY_NUMBER[number])) == [PUBLISHED[number], 0]


@pytest.mark.slow
def test_all_published_lists_are_met_exactly():
    for number, total in PUBLISHED.items():
        found = count(BY_NUMBER[number], published(BY_NUMBER[number]))
        assert found == [total, GROUPED.get(number, 0)], BY_NUMBER[number].name
    assert sum(PUBLISHED.values()) - 768 + sum(GROUPED.values()) == 920384 + 234752


@pytest.mark.parametrize("name", ["conv-concat-input-channels", "conv-concat-output-channels"])
def test_conditions_exclude_grouped_instances_all_of_which_are_false(name):
    result = validate(BY_NAME[name], largest=2)
    assert result.holds and result.excluded > 0 and result.needlessly == 0


def test_the_condition_of_merging_both_channels_is_exact():
    result = validate(BY_NAME["conv-concat-both-channels"], largest=3, limit=2000)
    assert result.holds and result.excluded > 0 and result.needlessly == 0, str(result)


def test_a_condition_that_is_too_strict_is_seen():
    old, new = (parse_term(text, {"x": "tensor", "y": "tensor"}) for text in ("add(x, y)", "add(y, x)"))
    strict = Axiom("sum-of-equals", old, new, ("x.shape[0] == 1",))
    result = validate(strict, largest=2)
    assert result.needlessly == result.excluded > 0


def test_the_smallest_failures_are_the_known_ones():
    shapes, _ = validate(BY_NAME["grouped-conv-concat-input-channels"], largest=2).failure
    assert [shapes[name].dims for name in "ikjl"] == [(1, 2, 1, 1), (2, 1, 1, 1)] * 2
    shapes, _ = validate(BY_NAME["grouped-conv-concat-output-channels"], largest=2).failure
    assert [shapes[name].dims for name in "ikl"] == [(1, 2, 1, 1), (2, 1, 1, 1), (2, 1, 1, 1)]


def test_split_trees_count_in_axioms():
    """Equal values, different trees: as an axiom it would make any two tensors equal."""
    failing = validate(BY_NAME["concat-associates"], largest=2)
    shapes, params = failing.failure
    old, new = BY_NAME["concat-associates"].left, BY_NAME["concat-associates"].right
    assert values_agree([old], [new], shapes, params, rng=np.random.default_rng(0), arithmetic=SmallField())


def test_instances_are_those_that_are_counted():
    axiom = BY_NAME["matmul-associates"]
    assert sum(1 for _ in instances(axiom, largest=2)) == validate(axiom, largest=2).instances


def test_an_executor_changes_nothing():
    axioms = AXIOMS[:6] + WRONG[:2]
    with ThreadPoolExecutor(2) as executor:
        parallel = list(validate_all(axioms, largest=2, executor=executor))
    assert parallel == list(validate_all(axioms, largest=2))


TEXTS = [
    (
        "conv(i, add(k, l), activation=relu, {})",
        "add(conv(i, k, activation=none, {0}), conv(i, l, activation=none, {0}))",
    ),
    (
        "avg_pool(i, kernel=(2, 3), padding=(1, 1, 0, 1), strides=(1, 2))",
        "conv(i, Cpool(kernel=(2, 3)), activation=none, dilations=(1, 1), padding=(1, 1, 0, 1), strides=(1, 2))",
    ),
    ("max_pool(i, kernel=(2, 3), padding=(1, 1, 0, 1), strides=(1, 1))", "relu(i)"),
]


@pytest.mark.parametrize(("left", "right"), TEXTS)
def test_numbered_values_are_those_of_evaluate(left, right):
    window = "dilations=(1, 1), padding=same, strides=(2, 1)"
    kinds = {"i": "image", "k": "kernel", "l": "kernel"}
    old, new = (parse_term(text.format(window), kinds) for text in (left, right))
    kernels = [Shape((4, i, k, 1)) for i, k in itertools.product((1, 2), (1, 3))]
    choices = {
        "i": [Shape((2, 2, h, 3)) for h in (3, 4)],
        "k": kernels,
        "l": kernels,
        "Cpool(kernel=(2, 3))": [Shape((2, 1, 2, 3))],
    }
    table, field = ShapeTable(), SmallField()
    search = ShapeSearch([old, new], choices, table=table)
    values = NumberedValues(field, table, np.random.default_rng(0))
    computes = values.computes(search, old, new)
    seen = 0
    for known in search.numbered():
        seen += 1
        inputs = {
            leaf_name(leaf): computes[leaf](known) if leaf.is_variable else table.shapes[known[slot]]
            for slot, leaf in enumerate(search.leaves)
        }
        for root, wanted in zip((old, new), evaluate([old, new], inputs, arithmetic=field), strict=True):
            assert np.array_equal(computes[root](known), wanted)
    assert seen
