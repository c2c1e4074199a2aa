"""`from taso_mini import compile, load`: networks as functions of arrays, and as C programs with the same bits."""

from __future__ import annotations

import gc
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import taso_mini
from ansor_mini.network import default_network
from runtime.compile_c import find_compiler
from runtime.compiled_network import CompiledNetwork
from runtime.executor import build
from runtime.graph import Graph, GraphBuilder
from taso_mini import compile, load
from taso_mini.load_model import sample_inputs
from taso_mini.models.bert import bert
from taso_mini.models.squeezenet import squeezenet
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
