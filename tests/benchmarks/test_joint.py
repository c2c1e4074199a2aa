"""The benchmark of the joint search: runs are kept and built again, figures and tables come from them."""

from __future__ import annotations

import json
from argparse import Namespace
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from taso_mini.models import MODELS
from tests.benchmarks import joint, record_joint
from tests.benchmarks.joint_runs import ANSOR, JOINT, NEITHER, SEQUENTIAL, VARIANTS, Run, drawn, read_runs, write_runs

GRAPH = """graph g:
    input x: float32[4, 8]
    weight w: float32[8, 16]
    m = matmul(x, w)  # float32[4, 16]
    y = relu(m)  # float32[4, 16]
    return y"""


def made(variant: str, latency: float, kernels=(("matmul+relu 4x16", 1, 2e-6, "tuned"),)) -> Run:
    """A run as it is recorded."""
    return Run("tiny", variant, 1, "machine", 2, 1, 2, 1.0, "as given", GRAPH, bill=kernels, latency=latency, error=0.0)


def recorded(folder: Path, joint_latency: float = 1e-3) -> Path:
    """A file with all four runs of a network."""
    runs = [made(NEITHER, 4e-3), made(ANSOR, 2e-3), made(SEQUENTIAL, 1.5e-3, (("conv 4x16", 2, 3e-6, "default"),)),
            made(JOINT, joint_latency)]  # fmt: skip
    write_runs(runs, folder / "runs.jsonl.gz")
    return folder / "runs.jsonl.gz"


def options(path: Path, **others) -> Namespace:
    return Namespace(threads=1, trials_per_task=1, networks=("tiny", "unknown"), runs=path, **others)


def test_runs_are_written_and_read_back(tmp_path: Path) -> None:
    path = recorded(tmp_path)
    runs = read_runs(path)
    assert list(runs) == [("tiny", variant, 1) for variant in VARIANTS]
    write_runs(runs.values(), tmp_path / "again.gz")
    assert (tmp_path / "again.gz").read_bytes() == path.read_bytes()
    assert read_runs(tmp_path / "none") == {}


def test_weights_are_drawn_for_a_text_and_stay_small() -> None:
    graph = drawn(GRAPH)
    weight = graph.weights["w"]
    assert weight.shape == (8, 16) and 0.1 < weight.std() < 1 and np.array_equal(weight, drawn(GRAPH).weights["w"])


def test_a_quick_run_repeats_recorded_latencies_and_explains_a_case(tmp_path, capsys) -> None:
    figures = joint.run(True, options(recorded(tmp_path)))
    tiny = figures["joint"]["tiny"]
    assert tiny["ms"] == {NEITHER: 4.0, ANSOR: 2.0, SEQUENTIAL: 1.5, JOINT: 1.0} and not tiny["timed_now"]
    assert tiny["joint_speedup"][SEQUENTIAL] == 1.5 and not tiny["same_graph_as_sequential"]
    assert figures["at_least_as_fast"] == figures["strictly_better"] == 1
    out = capsys.readouterr().out
    assert "conv 4x16" in out
    assert "(recorded)" in out and "unknown" not in out
    json.dumps(figures)
    slower = joint.run(True, options(recorded(tmp_path, joint_latency=1.6e-3)))
    assert slower["at_least_as_fast"] == slower["strictly_better"] == 0


def test_without_runs_it_says_how_to_get_them(tmp_path, capsys) -> None:
    assert joint.run(True, options(tmp_path / "none.gz"))["joint"] == {}
    assert "record_joint" in capsys.readouterr().out


@pytest.mark.cc
@pytest.mark.slow
@pytest.mark.usefixtures("hasty_choices")
def test_a_network_is_recorded_in_all_ways_and_timed_again(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = {"nasrnn": partial(MODELS["nasrnn"], hidden=8, steps=1)}
    monkeypatch.setattr(record_joint, "MODELS", small)
    monkeypatch.setattr(record_joint, "TIMING_ROUNDS", 2)
    monkeypatch.setattr(joint, "ROUNDS", 2)
    settings = Namespace(threads=1, trials_per_task=1, expansions=5, folder=tmp_path)
    runs = record_joint.record("nasrnn", settings)
    assert [run.variant for run in runs] == list(VARIANTS)
    assert all(run.latency and run.error is not None and run.error < 1e-3 for run in runs)
    tuned = {run.variant: run for run in runs}
    assert tuned[NEITHER].trials == 0 and not tuned[NEITHER].records
    assert tuned[ANSOR].trials == tuned[ANSOR].tasks == len(tuned[ANSOR].records)
    assert tuned[ANSOR].choice and tuned[JOINT].choice and not tuned[NEITHER].choice
    again = record_joint.record("nasrnn", settings)  # everything is there
    for run, other in zip(runs, again, strict=True):
        assert run.trials == other.trials
        if run.graph == other.graph:  # the finalists are timed anew
            assert run.choice == other.choice
    seconds, missing = joint.latencies(tuned)
    assert set(seconds) == set(VARIANTS) and missing <= tuned[JOINT].tasks
    bare = replace(tuned[ANSOR], records=())
    assert joint.latencies({ANSOR: bare})[1] == tuned[ANSOR].tasks
