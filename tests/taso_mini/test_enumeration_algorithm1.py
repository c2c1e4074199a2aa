"""Algorithm 1, plain, visits the published generator's graphs and finds the rules that the fast one finds."""

import numpy as np
import pytest

from taso_mini.enumeration.algorithm1 import count_visits, equal_graphs, outputs, visit
from taso_mini.enumeration.forms import LocalPairs, Pairs, normal_forms
from taso_mini.enumeration.growth import grow
from taso_mini.enumeration.meeting import connected_graphs, find_partners, meet
from taso_mini.enumeration.space import published
from taso_mini.enumeration.term_table import NONE, PAD, TermTable


def table_of(space, operators, *, every_name):
    table = TermTable(space, 0, operators)
    for size in range(1, operators + 1):
        grow(table, size, last=size == operators and not every_name, keep_values=size < operators)
    return table


def rows_of(table, graphs):
    """Look graphs of Algorithm 1 up in a table with every name; rows of nodes, and of outputs in their order."""
    found = {(int(t), *map(int, a)): n for n, (t, a) in enumerate(zip(table.template, table.arguments)) if t != 255}
    commutative = [i for i, one in enumerate(table.space.templates) if one.operator in ("add", "mul")]
    nodes = np.full((len(graphs), table.width), PAD, dtype=np.int32)
    ends = np.full((len(graphs), table.width + 1), PAD, dtype=np.int32)
    for row, graph in enumerate(graphs):
        place = {one.name: i for i, one in enumerate(table.space.inputs)}
        for column, operator in enumerate(graph):
            operands = [place[x.name] for x in operator.operands]
            key = operator.template, *operands, *[NONE] * (2 - len(operands))
            if key not in found and operator.template in commutative:
                key = key[0], key[2], key[1]
            nodes[row, column] = found[key]
            place |= {x.name: table.first[found[key]] + i for i, x in enumerate(operator.outputs)}
        ends[row, : len(outputs(graph))] = [place[x.name] for x in outputs(graph)]
    return np.sort(nodes, axis=1), ends


def test_the_plain_algorithm_finds_the_same_rules_at_two_operators():
    slow = list(equal_graphs(published(), 2))
    table = table_of(published(), 2, every_name=True)
    sides = [rows_of(table, [pair[side] for pair in slow]) for side in (0, 1)]
    pairs = Pairs(sides[0][0], sides[1][0], sides[0][1], sides[1][1])
    slow_forms = set(normal_forms(LocalPairs(table, pairs), aware=True).tolist())
    table = table_of(published(), 2, every_name=False)
    partners = find_partners(table)
    met = meet(table, partners, connected_graphs(table, partners))
    fast_forms = set(normal_forms(LocalPairs(table, met), aware=True).tolist())
    assert slow_forms == fast_forms and len(fast_forms) == 81


def test_the_plain_algorithm_visits_what_the_published_one_visits():
    assert count_visits(published(), 2) == [1, 228, 57947]


def test_a_graph_is_visited_once_in_each_order():
    graphs = [graph for graph in visit(published().only("relu"), 2) if len(graph) == 2]
    assert len(set(graphs)) == len(graphs)
    assert len({frozenset(graph) for graph in graphs}) < len(graphs)


@pytest.mark.slow
def test_the_plain_algorithm_counts_the_published_graphs_at_three_operators():
    assert count_visits(published(), 3) == [1, 228, 57947, 16347235]
