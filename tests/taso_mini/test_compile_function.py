"""`from taso_mini import compile, load`: networks as functions of arrays, and as C programs with the same bits."""

from __future__ import annotations

import gc
import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import taso_mini
from ansor_mini.network import default_network
from ansor_mini.network_choice import kernel_key
from ansor_mini.partition import partition, task_weights
from ansor_mini.recorded_kernels import candidates_of, dags_of
from ansor_mini.records import read_choices, read_records, write_records
from runtime import executor
from runtime.compile_c import find_compiler
from runtime.compiled_network import CompiledNetwork
from runtime.executor import build
from runtime.graph import Graph, GraphBuilder
from taso_mini import compile, load
from taso_mini.compile_model import compile_model
from taso_mini.compile_options import CompileOptions
from taso_mini.kernel_tuning import RECORDS
from taso_mini.load_model import sample_inputs
from taso_mini.models.bert import bert
from taso_mini.models.squeezenet import squeezenet
from taso_mini.report import as_json, as_text
from tests.runtime.onnx_models import IMAGE, model, node, save
from tests.runtime.test_standalone_c import SANITIZERS, STRICT, clang, outputs_of, program

UNTUNED = {"trials": 0, "cost": "flops", "threads": 2}

pytestmark = pytest.mark.usefixtures("hasty_choices")


def small_graph() -> Graph:
    """relu of a product with a weight, and of its double."""
    rng = np.random.default_rng(0)
    make = GraphBuilder("small")
    x = make.input("x", (4, 8))
    product = make.add("matmul", x, make.weight("w", rng.integers(-3, 4, (8, 16)).astype(np.float32)))
    return make.finish([make.add("relu", product, name="y"), make.add("add", product, product, name="z")])


@pytest.mark.cc
def test_a_graph_becomes_a_function(tmp_path: Path) -> None:
    graph = small_graph()
    said: list[str] = []
    network = compile(graph, log=said.append, **UNTUNED)
    x = np.random.default_rng(1).integers(-3, 4, (4, 8)).astype(np.float32)
    y, z = network(x)
    product = x @ graph.weights["w"]
    assert (y == np.maximum(product, 0)).all() and (z == 2 * product).all()
    assert any(line.startswith("memory: ") for line in said)
    network.save(tmp_path / "kept")
    again = pickle.loads(pickle.dumps(network))
    directory = network.directory
    del network
    gc.collect()
    assert not directory.exists()
    for other in (load(tmp_path / "kept"), again):
        assert (other(x)[0] == y).all() and (other(x)[1] == z).all()


@pytest.mark.cc
def test_a_model_that_only_moves_data(tmp_path: Path) -> None:
    make = GraphBuilder("moves")
    a, b = make.input("a", (2, 3)), make.input("b", (2, 3))
    flat = make.add("reshape", make.add("concat", a, b, axis=1), shape=(12,), name="y")
    network = compile(make.finish([flat, "a"]), emit_c=tmp_path / "c", **UNTUNED)
    left, right = np.arange(6, dtype=np.float32).reshape(2, 3), np.ones((2, 3), np.float32)
    y, again = network(left, right)
    assert (y == np.concatenate([left, right], 1).reshape(12)).all() and (again == left).all()
    found = outputs_of(network, program(tmp_path / "c", STRICT), {"a": left, "b": right})
    assert (found["y"] == y).all()


@pytest.mark.cc
def test_an_onnx_file_becomes_a_function(tmp_path: Path) -> None:
    path = save(tmp_path, model([node("Relu", ["x"], ["y"])], IMAGE))
    network = compile(path, out=str(tmp_path / "out"), **UNTUNED)
    x = np.random.default_rng(0).standard_normal(network.inputs["x"].shape).astype(np.float32)
    assert (network(x) == np.maximum(x, 0)).all()
    assert not network.temporary and network.directory == tmp_path / "out"


@pytest.mark.cc
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("opset", [13, 17, 20])
def test_a_module_exported_by_pytorch_becomes_a_function(opset: int, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")

    class Block(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.norm = torch.nn.Conv2d(3, 8, 3, padding=1, bias=False), torch.nn.BatchNorm2d(8)
            self.second = torch.nn.Conv2d(8, 8, 3, padding=1, groups=2)
            self.dense, self.layer_norm = torch.nn.Linear(8, 5), torch.nn.LayerNorm(5)

        def forward(self, x):
            x = torch.relu(self.norm(self.first(x)))
            x = torch.nn.functional.max_pool2d(torch.relu(x + self.second(x)), 2)
            x = torch.nn.functional.gelu(self.dense(torch.nn.functional.adaptive_avg_pool2d(x, 1).flatten(1)))
            return torch.softmax(self.layer_norm(x), -1)

    torch.manual_seed(0)
    block, x = Block().eval(), torch.randn(2, 3, 16, 16)
    try:
        torch.onnx.export(block, (x,), str(tmp_path / "block.onnx"), dynamo=False, opset_version=opset)
    except (TypeError, ImportError) as error:  # before 2.5 the argument did not exist, one day the exporter will not
        pytest.skip(f"this PyTorch exports in another way: {error}")
    network = compile(tmp_path / "block.onnx", **UNTUNED)
    np.testing.assert_allclose(network(x), block(x).detach().numpy(), rtol=1e-4, atol=1e-6)


def test_what_the_package_offers_is_found_when_asked_for() -> None:
    assert taso_mini.__all__ == ["compile", "load"] and load == CompiledNetwork.load
    with pytest.raises(AttributeError, match="no attribute 'compilation'"):
        _ = taso_mini.compilation
    with pytest.raises(TypeError, match="budget"):
        compile("squeezenet", budget=3)
    with pytest.raises(ValueError, match="squeezenot"):
        compile("squeezenot")


def assert_the_program_agrees(graph: Graph, folder: Path) -> None:
    """Same bits from gcc, with and without threads; nearly the same from clang; nothing for the sanitizers to say."""
    network = compile(graph, emit_c=folder / "c", **UNTUNED)
    feeds = sample_inputs(graph)
    expected = network.run(**feeds)
    for flags in (("-fopenmp",), ()):
        found = outputs_of(network, program(folder / "c", (*STRICT, *flags)), feeds)
        assert all(found[name].tobytes() == array.tobytes() for name, array in expected.items()), flags
    others = [program(folder / "c", (*SANITIZERS, "-fopenmp"))]
    for command in others:
        assert_close(outputs_of(network, command, feeds), expected)
    if clang():
        assert_close(outputs_of(network, program(folder / "c", STRICT, clang() or ()), feeds), expected)


def assert_close(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=1e-4, atol=1e-5 * float(np.abs(array).max()))


@pytest.mark.cc
@pytest.mark.slow
def test_squeezenet_as_c(tmp_path: Path) -> None:
    assert_the_program_agrees(squeezenet(np.random.default_rng(0), image=64), tmp_path)


@pytest.mark.cc
@pytest.mark.slow
def test_bert_as_c(tmp_path: Path) -> None:
    assert_the_program_agrees(small_bert(), tmp_path)


def small_bert() -> Graph:
    return bert(np.random.default_rng(0), layers=2, batch=2, sequence=8, hidden=32, heads=4)


@pytest.mark.cc
@pytest.mark.slow
def test_eight_threads_call_squeezenet() -> None:
    graph = squeezenet(np.random.default_rng(0), image=64)
    network = compile(graph, **UNTUNED)
    (name,) = network.inputs
    inputs = [sample_inputs(graph, seed)[name] for seed in range(8)]
    expected = [network(x) for x in inputs]
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda number: network(inputs[number % 8]), range(64)))
    for number, result in enumerate(results):
        assert result.tobytes() == expected[number % 8].tobytes()


@pytest.mark.cc
@pytest.mark.slow
@pytest.mark.skipif(clang() is None, reason="no clang; `pip install ziglang`")
def test_clangs_program_gives_the_bits_of_clangs_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ansor_mini.network import default_network
    from runtime.layout import to_channels_last
    from runtime.machine import detect

    monkeypatch.setenv("CC", " ".join(clang() or ()))
    assert find_compiler().command == tuple(clang() or ())
    graph = small_bert().fold_constants()
    network = build(default_network(to_channels_last(graph), detect(), 2), threads=2)
    network.emit_c(tmp_path)
    feeds = sample_inputs(graph)
    found = outputs_of(network, program(tmp_path, STRICT, clang() or ()), feeds)
    assert all(found[name].tobytes() == array.tobytes() for name, array in network.run(**feeds).items())


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
