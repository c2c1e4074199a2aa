"""`optimize`: what it prints, the graph it writes, and its exit status."""

from __future__ import annotations

import argparse
import json

import numpy as np
import pytest

from ansor_mini.network_tuner import NetworkTuner
from ansor_mini.partition import partition
from ansor_mini.records import RecordFile
from runtime.graph_text import parse_graph
from runtime.machine import detect
from taso_mini.layouts.joint import VARIANTS
from taso_mini.models import MODELS
from taso_mini.optimize_command import OPTIMIZE
from tests.strategies.graphs import feeds


def run(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    OPTIMIZE.add_arguments(parser)
    return OPTIMIZE.run(parser.parse_args(arguments))


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch):
    def make(rng):
        return MODELS["bert"](rng, layers=1, hidden=16, heads=2, sequence=4, batch=2)

    monkeypatch.setitem(MODELS, "small", make)
    return make(np.random.default_rng(0))


def test_it_prints_costs_and_rules_and_writes_the_graph(small, tmp_path, capsys):
    assert run("small", "--budget", "5", "--out", str(tmp_path / "graph.txt")) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line[:14].strip() for line in lines[:5]] == list(VARIANTS) and "in another order" in lines[5]
    written = parse_graph((tmp_path / "graph.txt").read_text())
    assert "transpose" not in {node.operator for node in written.nodes} and written.outputs == small.outputs
    data = feeds(small)
    assert written.evaluate(data).keys() == small.evaluate(data).keys()


def test_json_has_the_same(small, capsys):
    run("small", "--budget", "5", "--json")
    found = json.loads(capsys.readouterr().out)
    assert list(found["seconds"]) == list(VARIANTS) and found["model"] == "bert"


def test_nothing_cheaper_is_status_one(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(MODELS, "cell", lambda rng: MODELS["nasrnn"](rng, hidden=4, steps=1))
    rules = tmp_path / "none.txt"
    rules.write_text("")
    assert run("cell", "--rules", str(rules)) == 1
    assert "nothing cheaper than nasrnn was found" in capsys.readouterr().err


def test_tuned_prices_need_a_file_of_records():
    with pytest.raises(ValueError, match="--cost tuned needs --records FILE"):
        run("squeezenet", "--cost", "tuned")
    with pytest.raises(ValueError, match="--cost known needs --records FILE"):
        run("squeezenet", "--cost", "known")


@pytest.mark.cc
def test_known_prices_say_where_they_come_from(tmp_path, monkeypatch, capsys):
    """With records of the network's kernels, which are those of tuning it as given."""
    monkeypatch.setitem(MODELS, "cell", lambda rng: MODELS["nasrnn"](rng, hidden=4, steps=1))
    graph, machine, records = MODELS["cell"](np.random.default_rng(0)), detect(), tmp_path / "records.jsonl"
    with RecordFile(records) as sink:
        parts = partition(graph)
        with NetworkTuner(parts, weights=graph.weights, machine=machine, threads=1, records=sink) as tuner:
            tuner.run(trials=2 * len(tuner.tasks))
    run("cell", "--budget", "2", "--cost", "known", "--records", str(records),
        "--cost-file", str(tmp_path / "costs.jsonl"), "--json")  # fmt: skip
    captured = capsys.readouterr()
    assert int(captured.err.split(" kernels of nasrnn have records")[0]) > 0
    found = json.loads(captured.out)
    assert set(found["kernels"]) <= {"tuned", "default", "predicted", "operators", "copied"}
    assert {"tuned", "default"} & set(found["kernels"])


@pytest.mark.cc
@pytest.mark.parametrize("more", [("measured",), ("tuned", "--trials", "2", "--records", "records.jsonl")])
def test_measured_and_tuned_prices_are_kept(more, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(MODELS, "cell", lambda rng: MODELS["nasrnn"](rng, hidden=4, steps=1))
    run("cell", "--budget", "2", "--cost-file", "costs.jsonl", "--cost", *more)
    text = (tmp_path / "costs.jsonl").read_text()
    assert "matmul(float32[1, 4], float32[4, 4]" in text and "tanh(float32[4])" in text
    assert (tmp_path / "records.jsonl").exists() == (more[0] == "tuned")
