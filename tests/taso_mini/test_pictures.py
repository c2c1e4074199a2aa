"""Pictures: what is in them, how it is written, and where it is placed."""

from __future__ import annotations

import re
import sys
from itertools import combinations, pairwise
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.graph import Graph, GraphBuilder
from taso_mini.__main__ import main
from taso_mini.models.nasrnn import nasrnn
from taso_mini.optimizer import optimize
from taso_mini.pictures.command import WRITERS
from taso_mini.pictures.drawing import ADDED, REMOVED, Arrow, Box, Drawing
from taso_mini.pictures.graph_pictures import changed, draw_change, draw_graph
from taso_mini.pictures.heat_map import HeatMap
from taso_mini.pictures.layout import GAP, lay_out, spread
from taso_mini.pictures.png import RendererMissing, heat_map_png, png
from taso_mini.pictures.rule_pictures import draw_rule
from taso_mini.pictures.svg import svg
from taso_mini.pictures.text_formats import dot, mermaid
from taso_mini.rules_text import load_rules, parse_rules
from tests.strategies.drawings import drawings

TEXTS = ("mermaid", "dot", "svg")
RULES = parse_rules(
    """
rule concat-relu-relu-is-relu-concat
  variables x: tensor, y: tensor
  source    concat(relu(x), relu(y), axis=a)
  target    relu(concat(x, y, axis=a))

rule add-matmul-matmul-is-matmul-concat-concat
  variables x1: matrix, x2: matrix, x3: matrix, x4: matrix
  source    add(matmul(x1, x2), matmul(x3, x4))
  target    matmul(concat(x1, x3, axis=1), concat(x2, x4, axis=0))
"""
)


def two_relus(swapped: bool = False) -> Graph:
    build = GraphBuilder("two")
    x, y = build.input("x", (2, 3)), build.input("y", (2, 3))
    if swapped:
        joined = build.add("concat", x, y, axis=1, name="joined")
        both = build.add("relu", joined, name="both")
    else:
        both = build.add("concat", build.add("relu", x, name="a"), build.add("relu", y, name="b"), axis=1, name="both")
    return build.finish(build.add("tanh", both, name="out"))


def parents(root: ElementTree.Element, tag: str) -> list[ElementTree.Element]:
    return list(root.iter(f"{{http://www.w3.org/2000/svg}}{tag}"))


@given(drawings())
def test_every_box_and_arrow_is_in_every_text(drawing):
    """And each text is whole: SVG is XML, Mermaid's and DOT's brackets and quotes close in every line or block."""
    root = ElementTree.fromstring(svg(drawing))
    assert len(parents(root, "polyline")) == len(drawing.arrows)
    texts = [element.text for element in parents(root, "text")]
    assert all(line in texts for box in drawing.boxes for line in box.lines)
    flow = mermaid(drawing).split("\n")
    assert sum("-->" in line and line.split()[1].startswith("-->") for line in flow) == len(drawing.arrows)
    assert all(line.count('"') % 2 == 0 for line in flow[3:])
    assert sum(line.strip().startswith("subgraph") for line in flow) == sum(line.strip() == "end" for line in flow)
    digraph = re.sub(r'"(?:[^"\\]|\\.)*"', "", dot(drawing))
    assert '"' not in digraph and digraph.count("{") == digraph.count("}")
    assert digraph.count("->") == len(drawing.arrows) and digraph.count("shape=") == len(drawing.boxes)


@given(drawings())
def test_boxes_do_not_overlap_and_arrows_lead_down(drawing):
    layout = lay_out(drawing)
    assert layout == lay_out(drawing)
    for one, other in combinations(layout.boxes.values(), 2):
        apart_x = abs(one.x - other.x) - (one.width + other.width) / 2
        apart_y = abs(one.y - other.y) - (one.height + other.height) / 2
        assert max(apart_x, apart_y) > GAP - 1e-6
    for arrow, points in layout.arrows:
        assert all(y0 <= y1 for (_, y0), (_, y1) in pairwise(points)), arrow
        assert points[0][1] > layout.boxes[arrow.source].y and points[-1][1] < layout.boxes[arrow.target].y
    for place in layout.boxes.values():
        assert 0 <= place.x - place.width / 2 and place.x + place.width / 2 <= layout.size[0]
        assert 0 <= place.y - place.height / 2 and place.y + place.height / 2 <= layout.size[1]
    for name, frame in layout.frames:
        inside = [layout.boxes[box.key] for box in drawing.boxes if box.frame == name]
        assert all(abs(place.x - frame.x) + place.width / 2 <= frame.width / 2 for place in inside)


@given(st.lists(st.tuples(st.floats(-50, 50), st.floats(1, 30)), min_size=1, max_size=6))
def test_boxes_are_spread_no_more_than_needed(cases):
    """The first-order conditions of least squares: a shift of boxes at either end of a touching run gains nothing."""
    wanted, widths = map(list, zip(*cases, strict=True))
    places = spread(wanted, widths)
    rooms = [(one + other) / 2 + GAP for one, other in pairwise(widths)]
    assert all(right - left > room - 1e-9 for (left, right), room in zip(pairwise(places), rooms, strict=True))
    touching = [abs(right - left - room) < 1e-9 for (left, right), room in zip(pairwise(places), rooms, strict=True)]
    pulls = [want - place for want, place in zip(wanted, places, strict=True)]
    runs, start = [], 0
    for number in range(len(places)):
        if number == len(touching) or not touching[number]:
            runs.append(pulls[start : number + 1])
            start = number + 1
    for run in runs:
        assert abs(sum(run)) < 1e-6
        assert all(sum(run[:cut]) > -1e-6 for cut in range(len(run))), "its left part could go left"


def test_a_cycle_cannot_be_placed():
    boxes = (Box("a", ("a",)), Box("b", ("b",)))
    with pytest.raises(ValueError, match="arrows: expected no cycle, but there is one above or among a, b"):
        lay_out(Drawing("round", boxes, (Arrow("a", "b"), Arrow("b", "a"))))


@pytest.mark.parametrize(
    ("boxes", "arrows", "message"),
    [
        ((Box("a", ("a",)), Box("a", ("b",))), (), "boxes: expected distinct keys"),
        ((Box("a", ("a",), "cloud"),), (), "box a: no kind 'cloud'"),
        ((Box("a", ("a",), mark="lost"),), (), "no mark 'lost'"),
        ((Box("a", ("a",)),), (Arrow("a", "b"),), "arrow: expected keys of boxes"),
    ],
)
def test_an_impossible_drawing_is_refused(boxes, arrows, message):
    with pytest.raises(ValueError, match=message):
        Drawing("d", boxes, arrows)


def test_a_rule_is_drawn_with_what_each_side_has_alone():
    drawing = draw_rule(RULES[0])
    assert drawing.frames == ("source", "target")
    marks = {(box.frame, box.lines[0]): box.mark for box in drawing.boxes}
    assert marks["source", "relu"] == marks["source", "concat"] == REMOVED
    assert marks["target", "relu"] == marks["target", "concat"] == ADDED
    assert marks["source", "x"] == marks["target", "x"] == marks["source", "output"] == ""
    assert sum(box.lines[0] == "relu" for box in drawing.boxes) == 2 + 1
    labels = [a.label for a in drawing.arrows if drawing.box(a.target).lines[0] == "concat"]
    assert labels == ["0", "1"] * 2, "the order of a concatenation's operands matters"


def test_every_shipped_rule_can_be_drawn():
    for rule in load_rules():
        drawing = draw_rule(rule)
        assert sum("output" in box.lines[0] for box in drawing.boxes) == 2 * len(rule.source)
        assert lay_out(drawing).size > (0, 0) and mermaid(drawing) and dot(drawing)


def test_a_graph_is_unchanged_beside_itself():
    graph = nasrnn(np.random.default_rng(0), hidden=4, steps=2)
    assert changed(graph, graph) == (frozenset(), frozenset())
    again = nasrnn(np.random.default_rng(0), hidden=4, steps=2)
    assert changed(graph, again) == (frozenset(), frozenset()), "equal weights, other arrays"
    other = nasrnn(np.random.default_rng(1), hidden=4, steps=2)
    assert len(changed(graph, other)[0]) == 2 * 16 and not changed(graph, other)[1] - changed(graph, other)[0]


def test_what_reads_a_changed_value_is_unchanged():
    before, after = two_relus(), two_relus(swapped=True)
    assert changed(before, after) == ({"a", "b", "both"}, {"joined", "both"})
    assert changed(after, before) == ({"joined", "both"}, {"a", "b", "both"})


def test_one_of_two_equal_nodes_may_go():
    def graph(twice: bool) -> Graph:
        build = GraphBuilder("g")
        a = build.add("relu", build.input("x", (2,)), name="a")
        b = build.add("relu", "x", name="b") if twice else a
        return build.finish(build.add("add", a, b, name="y"))

    assert changed(graph(True), graph(False)) == ({"b"}, frozenset())


def test_a_search_is_drawn_with_its_change_marked():
    before = nasrnn(np.random.default_rng(0), hidden=64, steps=2)
    after = optimize(before, RULES, budget=30).graph
    removed, added = changed(before, after)
    assert {before.producer(value).operator for value in removed} == {"matmul", "add"}
    assert {after.producer(value).operator for value in added} == {"matmul", "concat"}
    drawing = draw_change(before, after, hops=1)
    marks = {mark: sum(box.mark == mark for box in drawing.boxes) for mark in (REMOVED, ADDED)}
    assert marks == {REMOVED: len(removed), ADDED: len(added)}
    whole = draw_change(before, after)
    assert len(drawing.boxes) < len(whole.boxes)
    operators = [box for box in whole.boxes if box.kind == "operator"]
    assert len(operators) == len(before.nodes) + len(after.nodes)
    with pytest.raises(ValueError, match="hops: expected at least 0, got -1"):
        draw_change(before, after, hops=-1)


def test_the_values_of_a_split_are_told_apart():
    build = GraphBuilder("g")
    left, right = build.add("split", build.input("x", (2, 4)), axis=1, sizes=(1, 3), name="cut")
    drawing = draw_graph(build.finish([build.add("relu", left, name="l"), build.add("tanh", right, name="r"), right]))
    assert {(a.target, a.label) for a in drawing.arrows if a.source == "cut.0"} == {
        ("l", "0"),
        ("r", "1"),
        ("out cut.1", "1"),
    }


HEAT = HeatMap.of({"bert": {"merge": 24, "fold": 7, "never": 0}, "resnet<50>": {"merge": 1, "add & mul": 3}})


def test_a_heat_map_counts_the_steps_of_a_search():
    before = nasrnn(np.random.default_rng(0), hidden=64, steps=2)
    trace = optimize(before, RULES, budget=30).trace
    heat = HeatMap.of_traces({"nasrnn": trace})
    assert heat.table() == [[len(trace.steps)]] and heat.largest == len(trace.steps) > 4
    assert HEAT.rules == ("merge", "fold", "add & mul") and HEAT.table() == [[24, 1], [7, 0], [0, 3]]


def test_a_heat_map_is_well_formed_in_every_text():
    numbers = [element.text for element in parents(ElementTree.fromstring(HEAT.svg()), "text")]
    assert [text for text in numbers if text.isdigit()] == ["24", "1", "7", "3"]
    label = re.search(r"label=<(.*)>\];", HEAT.dot(), re.DOTALL)[1]
    cells = [cell.text for cell in ElementTree.fromstring(label).iter("td") if cell.get("bgcolor")]
    assert cells == ["24", "1", "7", None, None, "3"]
    assert HeatMap.of({"bert": {}}).text() == "no rule was used in bert"


@pytest.mark.parametrize("draw", [lambda: png(draw_rule(RULES[0])), lambda: heat_map_png(HEAT),
                                  lambda: heat_map_png(HeatMap.of({}))])  # fmt: skip
def test_a_png_is_the_same_bytes_every_time(draw):
    pytest.importorskip("matplotlib")
    first = draw()
    assert first.startswith(b"\x89PNG") and first == draw()


def test_without_a_renderer_there_is_one_clear_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(RendererMissing, match="PNG needs matplotlib"):
        png(draw_rule(RULES[0]))


def test_the_command_writes_what_the_suffix_says(tmp_path, capsys):
    name = load_rules()[0].name
    for suffix, opening in ((".mmd", "---"), (".dot", "digraph"), (".svg", "<svg")):
        path = tmp_path / f"rule{suffix}"
        assert main(["draw", "rule", name, "--out", str(path)]) == 0
        assert path.read_text(encoding="utf-8").startswith(opening)
    assert main(["draw", "rule", name, "--format", "dot"]) == 0
    assert capsys.readouterr().out == (tmp_path / "rule.dot").read_text(encoding="utf-8")
    assert set(WRITERS) == {*TEXTS, "png"}


@pytest.mark.slow
def test_the_command_draws_models_and_searches(tmp_path, capsys):
    for words in (["model", "squeezenet"], ["change", "squeezenet", "--budget", "2"]):
        assert main(["draw", *words, "--out", str(tmp_path / "picture.svg")]) == 0
        assert len(parents(ElementTree.parse(tmp_path / "picture.svg").getroot(), "rect")) > 20
    assert main(["draw", "uses", "squeezenet", "--budget", "2"]) == 0
    assert "squeezenet" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["rule", "conv-is-cnov"], "no rule is called conv-is-cnov; there are "),
        (["rule"], "draw rule: expected one name, got 0"),
        (["model", "resnet51"], "resnet51 is neither a file nor a built-in network"),
        (["uses", "squeezenet", "--format", "mermaid"], "--format: expected one of text, dot, svg, png for uses"),
        (["rule", "x", "--format", "png"], "--out: a PNG is not text"),
    ],
)
def test_the_command_refuses_in_one_sentence(words, message, capsys):
    assert main(["draw", *words]) == 2
    assert message in capsys.readouterr().err
