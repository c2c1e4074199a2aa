"""`compile_model`: what is chosen by measured prices and in place, what is kept, and what is taken up again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ansor_mini.network import default_network
from ansor_mini.network_choice import kernel_key
from ansor_mini.partition import partition, task_weights
from ansor_mini.recorded_kernels import candidates_of, dags_of
from ansor_mini.records import read_choices, read_records, write_records
from runtime import executor
from runtime.graph import Graph, GraphBuilder
from taso_mini.compile_model import compile_model
from taso_mini.compile_options import CompileOptions
from taso_mini.kernel_tuning import RECORDS
from taso_mini.report import as_json, as_text
from tests.taso_mini.test_compile_function import small_graph

pytestmark = pytest.mark.usefixtures("hasty_choices")


@pytest.mark.cc
@pytest.mark.slow
@pytest.mark.parametrize("joint", [False, True])
def test_layouts_and_kernels_are_chosen_with_the_graph(joint: bool, tmp_path: Path) -> None:
    """Prices are measured; the graph that wins computes the same, and its records are kept."""
    make, rng = GraphBuilder("convs"), np.random.default_rng(0)
    x = make.input("x", (1, 8, 8, 8))
    for number in range(2):
        weight = make.weight(f"w{number}", rng.integers(-1, 2, (8, 8, 3, 3)).astype(np.float32))
        x = make.add("relu", make.add("conv", x, weight, padding=(1, 1, 1, 1)))
    graph = make.finish(x)
    options = CompileOptions(
        trials=6, threads=1, joint=joint, out=tmp_path / "out", cost_file=tmp_path / "costs.jsonl", compare=False
    )
    said: list[str] = []
    compiled = compile_model(graph, options, said.append)
    feeds = {"x": rng.integers(-2, 3, (1, 8, 8, 8)).astype(np.float32)}
    (name,) = graph.outputs
    assert np.array_equal(compiled.network.run(**feeds)[name], graph.evaluate(feeds)[name])
    assert (
        compiled.trials == 6 and (tmp_path / "costs.jsonl").exists() and (tmp_path / "out" / "records.jsonl").exists()
    )
    assert compiled.tasks and all(task.best_seconds <= task.default_seconds for task in compiled.tasks)
    assert any("chosen: " in line for line in said) == joint


def convolution_graph() -> Graph:
    """Two convolutions of 3 x 3 over many channels, where Winograd's definition has a quarter of the products."""
    rng = np.random.default_rng(0)
    make = GraphBuilder("convolutions")
    value = make.input("x", (1, 64, 24, 24))
    for name in ("a", "b"):
        weight = make.weight(f"{name}_w", rng.standard_normal((64, 64, 3, 3), dtype=np.float32) / np.float32(24))
        value = make.add("conv", value, weight, name=name, padding=(1, 1, 1, 1), activation="relu")
    return make.finish([value])


@pytest.mark.cc
@pytest.mark.slow
@pytest.mark.parametrize("tile", [2, 4])
def test_measured_kernels_choose_winograds_definition(tile: int, tmp_path: Path) -> None:
    graph, said = convolution_graph(), list[str]()
    options = CompileOptions(trials=8, threads=1, cost="flops", winograd=tile, out=tmp_path, compare=False)
    found = compile_model(graph, options, said.append)
    assert found.max_relative_error < 1e-4
    assert any(f"Winograd's F({tile}x{tile}, 3x3) computes" in line and "of 2 " in line for line in said)
    runs = task_weights(partition(found.substitution.graph))
    assert {line.key: line.weight for line in found.tasks} == {key: runs[key] for key in runs}
    records = CompileOptions(trials=0, threads=1, cost="flops", winograd=tile, records=tmp_path / RECORDS)
    again = compile_model(graph, replace(records, compare=False))
    operators = [node.operator for node in found.substitution.graph.nodes]
    assert [node.operator for node in again.substitution.graph.nodes] == operators


@pytest.mark.cc
@pytest.mark.slow
@pytest.mark.parametrize("joint", [False, True])
def test_models_share_a_store_of_records(joint: bool, tmp_path: Path) -> None:
    store = tmp_path / "store.jsonl"
    shared = {"trials": 6, "records": store, "joint": joint, "cost_file": tmp_path / "costs.jsonl", "compare": False}
    if not joint:
        shared["cost"] = "flops"

    def programs(threads: int) -> set[tuple[str, str]]:
        return {(r.task, f"{r.steps} {r.annotation}") for r in read_records(store) if r.threads == threads}

    compile_model(small_graph(), CompileOptions(threads=1, out=tmp_path / "one", **shared))
    first = programs(1)
    assert first and len(read_records(tmp_path / "one" / RECORDS)) == len(read_records(store))
    if not joint:
        again = compile_model(small_graph(), CompileOptions(threads=1, **shared))
        assert again.trials == 6 and programs(1) == first, "nothing is measured twice"
    compile_model(small_graph(), CompileOptions(threads=2, **shared))
    assert programs(1) == first and programs(2)
    if not joint:  # measured prices may choose another graph for two threads
        assert {task for task, _ in programs(2)} == {task for task, _ in first}


@pytest.mark.cc
def test_kernels_chosen_in_the_network_are_taken_up_again(tmp_path: Path) -> None:
    store, said = tmp_path / "store.jsonl", list[str]()
    shared = {"threads": 1, "cost": "flops", "records": store, "compare": False}
    tuned = compile_model(small_graph(), CompileOptions(trials=3, **shared), said.append)
    (choice,) = read_choices(store)
    assert tuned.choice == choice and as_json(tuned)["kernels_chosen_by"] == choice.fastest
    assert any(line == f"kernels: {choice}" for line in said) and f"network: {choice}" in as_text(tuned)
    again = compile_model(small_graph(), CompileOptions(trials=0, **shared), said.append)
    assert again.choice == choice and "as they were chosen" in said[-2] and read_choices(store) == [choice]
    graph = tuned.substitution.graph
    defaults = candidates_of(dags_of(partition(graph)), [], tuned.machine, 1)
    programs = {kernel_key(key): default for key, (default,) in defaults.items()}
    write_records(store, [*read_records(store), replace(choice, programs=programs)])
    other = compile_model(small_graph(), CompileOptions(trials=0, **shared))
    untuned = executor.build(default_network(graph, tuned.machine, 1))
    code, same, chosen, default = (
        (network.directory / "model.c").read_text()
        for network in (tuned.network, again.network, other.network, untuned)
    )
    assert code == same and chosen == default, "what is built is what was chosen"
    assert compile_model(small_graph(), CompileOptions(trials=0, **{**shared, "threads": 2})).choice is None


def test_winograds_definition_needs_measured_kernels() -> None:
    with pytest.raises(ValueError, match="winograd: expected 0 or a tile of"):
        CompileOptions(winograd=3)
    for other in ({"trials": 0}, {"joint": True}):
        with pytest.raises(ValueError, match="winograd needs trials or records, and not joint"):
            CompileOptions(winograd=4, **other)


def test_the_joint_search_needs_measured_prices() -> None:
    with pytest.raises(ValueError, match='joint needs cost="measured"'):
        CompileOptions(joint=True, cost="flops")
