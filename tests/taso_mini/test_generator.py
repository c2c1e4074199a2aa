"""The fast generator finds exactly what Algorithm 1 finds."""

import numpy as np
import pytest

from taso_mini.algorithm1 import enumerate_graphs, equal_graphs
from taso_mini.generator import Profile, enumerate_terms, equal_pairs
from taso_mini.profiles import ADD, CONCAT0, CONCAT1, CONV, CONV_RELU, MATMUL, MUL, RELU, SMUL, TRANSPOSE
from taso_mini.pruning import canonical
from taso_mini.terms import subterms, variable


def inputs(kind, dims, *names):
    return tuple((variable(name, kind), dims) for name in names)


SMALL = [
    Profile("sums", inputs("tensor", (2, 3), "x1", "x2", "x3"), (ADD, MUL, RELU, CONCAT1), 2),
    Profile("matrices", inputs("matrix", (3, 3), "x1", "x2", "x3"), (MATMUL, ADD, CONCAT0, CONCAT1), 2),
    Profile("scalars", inputs("tensor", (2, 3), "x1", "x2") + inputs("scalar", (), "c1"), (ADD, MUL, SMUL, RELU), 2),
    Profile(
        "convolutions",
        inputs("image", (1, 4, 3, 3), "x1") + inputs("kernel", (4, 4, 3, 3), "w1", "w2"),
        (CONV, CONV_RELU, RELU, ADD, CONCAT0),
        2,
    ),
]


def leaves(side):
    return {node for node in subterms(*side) if node.args and all(argument.is_variable for argument in node.args)}


@pytest.mark.parametrize("profile", SMALL, ids=lambda profile: profile.name)
def test_values_first_generator_finds_exactly_what_algorithm_1_finds(profile):
    slow = {
        str(canonical(pair))
        for pair in equal_graphs(enumerate_graphs(profile, rng=np.random.default_rng(0)))
        if len(pair[0]) == 1 and not leaves(pair[0]) & leaves(pair[1])
    }
    fast = {
        str(canonical(pair))
        for pair in equal_pairs(enumerate_terms(profile, rng=np.random.default_rng(1)))
        if not any(output.is_variable for side in pair for output in side)
    }
    assert fast == slow and (fast or profile.name == "sums")


def test_a_profile_with_transposes_reports_reductions_to_inputs():
    found = enumerate_terms(Profile("t", inputs("matrix", (2, 3), "x1"), (TRANSPOSE,), 2), rng=np.random.default_rng(0))
    assert [(str(a[0]), str(b[0])) for a, b in equal_pairs(found)] == [
        ("transpose(transpose(x1, perm=(1, 0)), perm=(1, 0))", "x1")
    ]
