"""Both searches at the highest debug level: each level says something, nothing on stdout, and no result changes."""

from __future__ import annotations

import re

import numpy as np

from ansor_mini.task_tuner import SearchOptions
from ansor_mini.tuner import Task, tune
from ansor_mini.workloads import parse_workload
from runtime import debug
from runtime.graph import Graph, GraphBuilder
from runtime.measure_case import MeasureResult
from taso_mini.optimizer import optimize
from taso_mini.terms import Substitution, term, variable


def levels(text: str) -> set[int]:
    found = re.findall(r"^(\d)\| ", text, re.MULTILINE)
    assert len(found) == len(text.splitlines()), "every line is marked with its level"
    return {int(level) for level in found}


def tuned() -> str:
    """Tune with a measurer that gives each trial another time and lets every third one fail."""
    trials = 0

    def measurer(nests, on_result):
        nonlocal trials
        for number in range(len(nests)):
            trials += 1
            failed = MeasureResult("wrong_answer", (), "injected")
            on_result(number, failed if trials % 3 == 0 else MeasureResult("ok", (1e-3 / trials,), ""))

    dag = parse_workload("matmul:16,16,8")
    options = SearchOptions(round_size=8)
    rng = np.random.default_rng(0)
    result = tune(Task(dag.key(), dag), trials=24, rng=rng, measurer=measurer, options=options)
    assert result.best is not None
    return str(result.best)


def two_layers() -> Graph:
    build = GraphBuilder("two_layers")
    x = build.input("x", (8, 64))
    hidden = build.add("matmul", x, build.weight("w1", np.ones((64, 64), np.float32)), name="hidden")
    return build.finish(build.add("matmul", hidden, build.weight("w2", np.ones((64, 8), np.float32)), name="y"))


def optimized() -> str:
    x, y, z = (variable(name, "matrix") for name in "xyz")
    left, right = term("matmul", term("matmul", x, y), z), term("matmul", x, term("matmul", y, z))
    return str(optimize(two_layers(), [Substitution("matmul-matmul", (left,), (right,))]).graph)


def test_tuning_at_the_highest_level(capsys):
    with debug.at(0):
        quiet = tuned()
    assert capsys.readouterr() == ("", "")
    with debug.at(4):
        assert tuned() == quiet
    printed = capsys.readouterr()
    assert levels(printed.err) == {1, 2, 3, 4} and printed.out == ""


def test_optimizing_at_the_highest_level(capsys):
    with debug.at(0):
        quiet = optimized()
    assert capsys.readouterr() == ("", "")
    with debug.at(4):
        assert optimized() == quiet
    printed = capsys.readouterr()
    assert {1, 3} <= levels(printed.err) and printed.out == ""
