"""The benchmark of whole networks at toy size: what is recorded, what is taken up again, and what peers compute."""

from __future__ import annotations

import importlib.util
import json
import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from hypothesis import given, note

from ansor_mini.network_choice import as_program
from ansor_mini.records import read_records, write_records
from runtime.graph import Graph, GraphBuilder
from runtime.machine import detect
from taso_mini.models import MODELS
from tests.benchmarks import network_finals, network_rows, networks
from tests.benchmarks.network_cases import AS_GIVEN, SUBSTITUTED, WINOGRAD, chosen, forms, graph_of
from tests.benchmarks.network_runs import Run, read_runs
from tests.benchmarks.network_worker import numbered, save_numbered
from tests.benchmarks.operator_worker import OURS
from tests.benchmarks.record_networks import Recorder, choose_all, record_all
from tests.strategies.graphs import ALL, feeds, graphs

SMALL = {"cell": partial(MODELS["nasrnn"], hidden=128, steps=2), "twin": partial(MODELS["nasrnn"], hidden=128, steps=3)}


def one_product(rng: np.random.Generator) -> Graph:
    """A graph of one kernel."""
    build = GraphBuilder("product")
    w = build.weight("w", rng.standard_normal((64, 64), dtype=np.float32))
    return build.finish(build.add("tanh", build.add("matmul", build.input("x", (64, 64)), w)))


SMALL["product"] = one_product


pytestmark = pytest.mark.usefixtures("hasty_choices")


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network_finals, "ROUNDS", 1)
    for name, make in SMALL.items():
        monkeypatch.setitem(MODELS, name, make)


def recorder(folder) -> Recorder:
    return Recorder(folder / "store.jsonl", folder / "records.jsonl.gz", folder / "runs.json")


@pytest.mark.cc
@pytest.mark.slow
def test_recording_is_shared_and_taken_up_again(small, tmp_path, capsys):
    first = recorder(tmp_path)
    record_all(first, ["cell"], [1], 2, math.inf)
    (run,) = first.runs.values()
    assert run.stopped == "trials" and run.trials == 2 * run.tasks
    assert set(run.latencies) == {AS_GIVEN, SUBSTITUTED}
    assert run.latencies[run.fastest()] == min(run.latencies.values())
    written = (tmp_path / "store.jsonl").read_bytes()

    again = recorder(tmp_path)
    record_all(again, ["cell"], [1], 2, math.inf)
    assert (tmp_path / "store.jsonl").read_bytes() == written, "what is done is not done again"
    assert again.runs == first.runs

    (tmp_path / "store.jsonl").unlink()
    last = recorder(tmp_path)
    known = {record.task for record in last.earlier()}
    record_all(last, ["twin"], [1], 2, math.inf)
    shared = [record for record in read_records(tmp_path / "store.jsonl") if record.task in known]
    twin = last.runs["twin", 1]
    assert twin.trials <= 2 * twin.tasks + len(known), "records of another network count"
    assert len(shared) <= 4 * len(known), "beside the last comparison"
    assert set(read_runs(tmp_path / "runs.json")) == {("cell", 1), ("twin", 1)}


@pytest.mark.cc
@pytest.mark.slow
def test_programs_are_chosen_in_place_and_compiled_as_chosen(small, tmp_path, monkeypatch, capsys):
    one = recorder(tmp_path)
    one.record("product", 1, 3, math.inf)
    (first,) = one.choices()
    trials = len(one.earlier())
    choose_all(one, ["product", "cell"], [1], math.inf)
    assert "cell 1t: not tuned yet" in capsys.readouterr().err
    (second,) = one.choices()
    assert second.time > first.time and second.kernels == first.kernels and len(one.earlier()) == trials
    monkeypatch.setattr(networks, "RECORDS", one.records)
    text = {}
    for name, programs in (("chosen", second.programs), ("default", {})):
        if not programs:  # as if the default schedule had been the fastest in place
            (key,) = second.programs
            default = next(record for record in one.earlier() if not record.annotation)
            write_records(one.records, [*one.earlier(), replace(second, programs={key: as_program(default)})])
        built = networks.compile_recorded(SMALL["product"](np.random.default_rng(0)), 1, None, tmp_path / name)
        assert (built.tasks, built.untuned) == (1, 0)
        text[name] = (tmp_path / name / "model.c").read_text()
    is_default = not next(iter(second.programs.values())).annotation
    assert (text["chosen"] == text["default"]) == is_default


def test_only_forms_close_to_the_fastest_are_worth_a_choice():
    assert network_finals.contenders({AS_GIVEN: 2.0, SUBSTITUTED: 2.3}) == [AS_GIVEN]
    found = network_finals.contenders({AS_GIVEN: 2.0, SUBSTITUTED: 2.02, WINOGRAD: 2.5})
    assert found == [AS_GIVEN, SUBSTITUTED, WINOGRAD]


@pytest.mark.cc
@pytest.mark.slow
def test_no_time_means_no_trials_and_an_unfinished_run(small, tmp_path, capsys):
    idle = recorder(tmp_path)
    record_all(idle, ["product"], [1], 2, 0.0)
    assert not idle.runs
    run = idle.record("product", 1, 2, -math.inf)
    assert (run.trials, run.stopped) == (0, "budget")
    assert not run.done(2)


@pytest.mark.cc
@pytest.mark.slow
def test_programs_of_one_thread_seed_those_of_two(small, tmp_path):
    one = recorder(tmp_path)
    one.record("product", 1, 4, math.inf)
    two = one.record("product", 2, 4, math.inf)
    assert two.trials == 4
    annotated = [record for record in one.earlier() if record.annotation]
    of_one = {(r.task, r.steps) for r in annotated if r.threads == 1}
    assert of_one & {(r.task, r.steps) for r in annotated if r.threads == 2}


def test_a_run_is_done_with_enough_trials_only():
    run = Run("cell", 1, 20, stopped="trials")
    assert run.done(20) and run.done(10) and not run.done(30)
    assert not Run("cell", 1, 20, stopped="budget").done(20)


def test_winograds_definition_counts_only_if_it_is_asked_for():
    run = Run("cell", 1, 20, stopped="trials", latencies={AS_GIVEN: 2.0, SUBSTITUTED: 1.5, WINOGRAD: 1.0})
    assert run.fastest() == SUBSTITUTED and run.fastest(winograd=True) == WINOGRAD
    assert run.done(20) and not run.done(20, winograd=True)
    assert Run("cell", 1, 20).fastest() == AS_GIVEN


@pytest.mark.cc
@pytest.mark.slow
def test_winograds_definition_is_tuned_and_compiled(monkeypatch, tmp_path):
    """Whichever definition is faster: of the three kernels that it takes, all are recorded, and the choice is kept."""
    build, rng = GraphBuilder("conv"), np.random.default_rng(0)
    w = build.weight("w", rng.standard_normal((16, 8, 3, 3), dtype=np.float32))
    graph = build.finish(build.add("conv", build.input("x", (1, 8, 6, 6)), w, padding=(1, 1, 1, 1)))
    monkeypatch.setitem(MODELS, "conv", lambda rng: graph)
    one = recorder(tmp_path)
    run = one.record("conv", 1, 2, math.inf, winograd=True)
    one.publish()
    assert run.tasks == 6, "two transposes, the convolution, and three kernels for it"
    monkeypatch.setattr(networks, "RECORDS", one.records)
    for latencies in ({AS_GIVEN: 1.0}, {WINOGRAD: 1.0}):
        built = networks.compile_recorded(
            graph, 1, Run("conv", 1, 2, latencies=latencies), tmp_path / next(iter(latencies)), winograd=True
        )
        assert built.untuned == 0


def test_groups_stand_for_their_networks():
    assert len(chosen(["papers"])) == 10 and len(chosen(["light"])) == 10
    assert chosen(["squeezenet", "papers"])[0] == "squeezenet" and len(chosen(["squeezenet", "papers"])) == 10
    with pytest.raises(ValueError, match="'lenet'"):
        chosen(["lenet"])


def test_forms_compute_the_same(small):
    graph = graph_of("cell")
    found = forms(graph)
    assert list(found) == [AS_GIVEN, SUBSTITUTED]
    rng = np.random.default_rng(0)
    given = {name: rng.standard_normal(kind.shape).astype(np.float32) for name, kind in graph.inputs.items()}
    for form in found.values():
        for name, wanted in graph.evaluate(given).items():
            np.testing.assert_allclose(form.evaluate(given)[name], wanted, rtol=1e-4, atol=1e-6)


def test_arrays_keep_their_order(tmp_path):
    arrays = [np.full((i + 1,), i, np.float32) for i in range(12)]
    save_numbered(tmp_path / "a.npz", arrays)
    for found, wanted in zip(numbered(str(tmp_path / "a.npz")), arrays, strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_rows_of_an_earlier_sitting_are_kept(tmp_path):
    earlier = tmp_path / "networks.json"
    rows = {"squeezenet": {"2t": {"ratio": 1.5}}}
    earlier.write_text(json.dumps({"machine": detect().line, "networks": rows}))
    assert networks.rows_of(earlier) == rows
    earlier.write_text(json.dumps({"machine": "another", "networks": rows}))
    with pytest.raises(ValueError, match="of this machine"):
        networks.rows_of(earlier)


def test_a_row_names_the_fastest_peer():
    built = network_rows.Built(AS_GIVEN, 7, 1, 2.0)
    seconds = {OURS: 0.002, "torch": 0.006, "onnxruntime": 0.003}
    row = network_rows.row_of(seconds, {OURS: 1e-6}, built, None, 12.34, 0.0015)
    assert (row["best_peer"], row["ratio"], row["ours_ms"], row["trials_per_task"]) == ("onnxruntime", 1.5, 2.0, 12.3)
    assert row["ratio_at_the_limit"] == 2.0


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed")
@given(graphs(tuple(operator for operator in ALL if operator not in ("lrn", "conv_transpose"))))
def test_pytorch_computes_what_the_reference_computes(graph):
    import torch

    from tests.benchmarks.torch_graph import torch_module

    note(str(graph))
    given = feeds(graph)
    module = torch_module(graph)
    found = module(*(torch.from_numpy(given[name]) for name in graph.inputs))
    for (name, wanted), value in zip(graph.evaluate(given).items(), found, strict=True):
        scale = max(1.0, float(np.nanmax(np.abs(wanted), initial=0.0)))
        np.testing.assert_allclose(value.numpy(), wanted, rtol=1e-4, atol=1e-4 * scale, err_msg=name)


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed")
@pytest.mark.parametrize("name", ["dcgan", "resnet3d_18"])
def test_pytorch_computes_the_networks_with_operators_of_their_own(name):
    import torch

    from taso_mini.load_model import sample_inputs
    from tests.benchmarks.torch_graph import torch_module

    sizes = {"dcgan": {"channels": 16}, "resnet3d_18": {"frames": 4, "image": 16, "channels": (4, 4, 8, 8)}}[name]
    graph = MODELS[name](np.random.default_rng(0), **sizes)
    given = sample_inputs(graph, 0)
    (found,) = torch_module(graph)(*map(torch.from_numpy, given.values()))
    (wanted,) = graph.evaluate(given).values()
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-3, atol=1e-5)


def test_a_row_has_a_column_for_winograds_definition_where_it_was_timed(capsys):
    built = network_rows.Built(AS_GIVEN, 3, 0, 1.0)
    seconds = {OURS: 0.002, "torch": 0.003, "onnxruntime": 0.0025}
    plain = network_rows.row_of(seconds, {OURS: 1e-6}, built, None, 4.0, 0.001)
    assert plain["ratio"] == 1.25 and "winograd_ms" not in plain
    both = seconds | {network_rows.OURS_WINOGRAD: 0.001}
    errors = {OURS: 1e-6, network_rows.OURS_WINOGRAD: 1e-5}
    faster = network_rows.row_of(both, errors, built, None, 4.0, 0.001)
    assert (faster["best_peer"], faster["ratio"], faster["winograd_ratio"]) == ("onnxruntime", 1.25, 2.5)
    network_rows.print_row("faster", faster)
    figures = network_rows.summary([plain, faster], "light_", "2t")
    assert figures == {
        "light_geomean_2t": 1.25, "light_min_2t": 1.25,
        "light_winograd_geomean_2t": 1.768, "light_winograd_min_2t": 1.25,
    }  # fmt: skip
    assert "1.0e-05" in capsys.readouterr().out
