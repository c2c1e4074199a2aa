"""Compiled networks: the same numbers as running each kernel by itself, and directories that are never half written."""

from __future__ import annotations

import json
import re
import subprocess
import tempfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.compile_c import CompileError, build_library, find_compiler, run_nest
from runtime.compiler_process import run_compiler
from runtime.executor import FILES, CompiledNetwork, build
from runtime.expr import Buffer, Var
from runtime.graph import TensorType
from runtime.loop_nest import SERIAL, For, LoopNest, Store
from runtime.network import KernelCall, Network, NetworkError
from runtime.network_c import NetworkText, canonical, emit_network, unique_kernels
from runtime.staging import OutputError
from tests.strategies.networks import elementwise, evaluate, loops, networks, two_outputs

pytestmark = pytest.mark.cc
SHAPE = (3, 4)
KIND = TensorType(SHAPE)


def integers(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-4, 5, shape).astype(np.float32)


def small(name: str = "small", **changes) -> Network:
    """y = 1 * (2 x + w) + 1, with a kernel used twice."""
    first = elementwise("sum", SHAPE, 2, 0, False)
    parts = {
        "name": name,
        "inputs": {"x": KIND},
        "outputs": {"y": KIND},
        "weights": {"w": integers(SHAPE, 1)},
        "values": {"h": KIND, "y": KIND},
        "calls": (KernelCall(first, ("x", "w"), ("h",)), KernelCall(first, ("h", "x"), ("y",))),
        **changes,
    }
    return Network(**parts)


@settings(max_examples=8)
@given(networks(), st.sampled_from([1, 2]))
def test_the_network_computes_what_its_kernels_compute(network: Network, threads: int) -> None:
    feeds = {name: integers(kept.shape) for name, kept in network.inputs.items()}
    expected = evaluate(network, run_nest, feeds)
    with tempfile.TemporaryDirectory() as folder:
        compiled = build(network, folder, threads=threads)
        for _ in range(2):
            found = compiled.run(**feeds)
            assert list(found) == list(network.outputs)
            for name, array in expected.items():
                assert found[name].shape == array.shape and (found[name] == array).all(), name


def test_outputs_that_are_inputs_weights_or_second_names_are_copied(tmp_path) -> None:
    flat = TensorType((12,))
    network = small(
        outputs={"x": KIND, "w2": flat, "y": KIND, "y2": flat},
        values={"h": KIND, "y": KIND, "y2": flat, "w2": flat},
        aliases={"y2": "y", "w2": "w"},
    )
    x = integers(SHAPE)
    found = build(network, tmp_path).run(x=x)
    assert (found["x"] == x).all() and (found["w2"] == network.weights["w"].reshape(12)).all()
    assert (found["y"].reshape(12) == found["y2"]).all()
    assert (found["y"] == x + 2 * network.weights["w"] + 2 * x).all()


def test_saved_and_loaded_networks_run_without_compiling(tmp_path, monkeypatch) -> None:
    x = integers(SHAPE)
    expected = build(small(), tmp_path / "a").run(x=x)["y"]
    monkeypatch.setattr("runtime.executor.find_compiler", None)
    CompiledNetwork.load(tmp_path / "a").save(tmp_path / "b" / "c")
    loaded = CompiledNetwork.load(str(tmp_path / "b" / "c"))
    assert (loaded.run(x=x)["y"] == expected).all()
    assert sorted(path.name for path in (tmp_path / "b" / "c").iterdir()) == sorted(FILES)
    assert loaded.inputs == {"x": KIND} and loaded.time(min_seconds=1e-4) > 0


def test_a_directory_can_be_built_into_again(tmp_path) -> None:
    (tmp_path / "report.md").write_text("kept")
    x = integers(SHAPE)
    first = build(small(), tmp_path)
    before = first.run(x=x)["y"]
    other = KernelCall(elementwise("sum", SHAPE, 1, 1, False), ("x",), ("y",))
    second = build(small(calls=(other,)), tmp_path)
    assert (second.run(x=x)["y"] == x + 1).all()
    assert (first.run(x=x)["y"] == before).all()
    assert (tmp_path / "report.md").read_text() == "kept"


def test_a_unit_is_compiled_once(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("MINI_CACHE", str(tmp_path / "cache"))
    commands: list[list[str]] = []

    def watched(command, **options) -> None:
        commands.append(list(command))
        run_compiler(command, **options)

    monkeypatch.setattr("runtime.executor.run_compiler", watched)
    x = integers(SHAPE)
    expected = build(small(), tmp_path / "a").run(x=x)["y"]
    assert ["-c" in command for command in commands] == [True, True, False]
    commands.clear()
    assert (build(small(), tmp_path / "b").run(x=x)["y"] == expected).all()
    assert len(commands) == 1 and "-shared" in commands[0]
    other = KernelCall(elementwise("sum", SHAPE, 1, 1, False), ("x",), ("y",))
    assert (build(small(calls=(other,)), tmp_path / "c").run(x=x)["y"] == x + 1).all()
    assert {path.suffix for path in (tmp_path / "cache").iterdir()} == {".o"}


def test_a_bound_inference_reads_and_writes_the_same_memory(tmp_path) -> None:
    compiled = build(small(), tmp_path)
    bound = compiled.bind({"x": integers(SHAPE)})
    bound()
    assert (bound.outputs["y"] == compiled.run(x=integers(SHAPE))["y"]).all()
    bound.outputs["y"][:] = 0
    assert bound.seconds(3) > 0 and bound.outputs["y"].any()


def test_inputs_need_not_be_contiguous(tmp_path) -> None:
    x = integers((4, 3)).T
    compiled = build(small(), tmp_path)
    assert (compiled.run(x=x)["y"] == compiled.run(x=x.copy())["y"]).all()


# model.c


def test_model_c_compiles_alone_and_calls_equal_kernels_by_one_name(tmp_path) -> None:
    build(small("my-net"), tmp_path)
    text = (tmp_path / "model.c").read_text()
    assert build_library(text).exists()
    assert text.count("void my_net_k00_sum(") == 1 and "k01_" not in text
    entry = text[text.index("int my_net_run(") :]
    calls = re.findall(r"/\* (.+?) \*/\n    (\w+)\(", entry)
    assert calls == [("h: float32[3, 4] from x, w", "my_net_k00_sum"), ("y: float32[3, 4] from h, x", "my_net_k00_sum")]


def test_model_c_runs_in_a_c_program(tmp_path) -> None:
    build(small(), tmp_path)
    main = """#include <stdio.h>
int small_run(const void *const *, void *const *, const void *, void *);
static char weights[64] __attribute__((aligned(64))), workspace[4096] __attribute__((aligned(64)));
static float x[12] __attribute__((aligned(64))), y[12] __attribute__((aligned(64)));
int main(void) {
  FILE *file = fopen("weights.bin", "rb");
  if (!file || fread(weights, 1, 64, file) != 64) return 1;
  for (int i = 0; i < 12; ++i) x[i] = i;
  const void *inputs[] = {x}; void *outputs[] = {y};
  small_run(inputs, outputs, weights, workspace);
  for (int i = 0; i < 12; ++i) printf("%g ", y[i]);
  return 0;
}
"""
    (tmp_path / "main.c").write_text(main)
    command = [*find_compiler().command, "main.c", "model.c", "-march=native", "-fopenmp", "-o", "main", "-lm"]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=60)
    said = subprocess.run(["./main"], cwd=tmp_path, check=True, capture_output=True, text=True, timeout=20).stdout
    x = np.arange(12, dtype=np.float32).reshape(SHAPE)
    assert [float(word) for word in said.split()] == CompiledNetwork.load(tmp_path).run(x=x)["y"].reshape(12).tolist()


def test_names_from_the_model_cannot_break_the_c_text(tmp_path) -> None:
    evil = 'v*/ #error "\n'
    first = elementwise("conv/1*/x", SHAPE, 1, 1, False)
    calls = (KernelCall(first, ("x",), (evil,)), KernelCall(first, (evil,), ("y",)))
    network = Network("9*/\n", {"x": KIND}, {"y": KIND}, {}, {evil: KIND, "y": KIND}, calls)
    assert (build(network, tmp_path).run(x=integers(SHAPE))["y"] == integers(SHAPE) + 2).all()


def test_kernels_that_differ_only_in_names_are_equal() -> None:
    def copy(first: str, second: str, variable: str, kind: str = SERIAL) -> LoopNest:
        a, b, i = Buffer(first, (4,)), Buffer(second, (4,)), Var(variable)
        return LoopNest(first, (a,), (b,), For(i, 4, kind, Store(b, (i,), a[i])))

    assert canonical(copy("a", "b", "i")) == canonical(copy("p", "q", "j"))
    assert canonical(copy("a", "b", "i")) != canonical(copy("a", "b", "i", "unroll"))
    calls = [KernelCall(copy("a", "b", "i"), ("x",), ("h",)), KernelCall(copy("p", "q", "j"), ("h",), ("y",))]
    four = TensorType((4,))
    network = Network("n", {"x": four}, {"y": four}, {}, {"h": four, "y": four}, tuple(calls))
    kernels, per_call = unique_kernels(network)
    assert len(kernels) == 1 and per_call == kernels * 2


def test_weights_are_aligned_and_only_used_ones_are_stored(tmp_path) -> None:
    three = TensorType((3,))
    add = elementwise("add", (3,), 3, 0, False)
    weights = {name: integers((3,), seed) for seed, name in enumerate(("unused", "b", "a"))}
    network = Network(
        "n", {"x": three}, {"y": three}, weights, {"y": three}, (KernelCall(add, ("x", "a", "b"), ("y",)),)
    )
    compiled = build(network, tmp_path)
    stored = np.frombuffer((tmp_path / "weights.bin").read_bytes(), np.float32)
    assert stored.size == 32
    assert (stored[:3] == weights["a"]).all() and (stored[16:19] == weights["b"]).all()
    x = integers((3,), 9)
    assert (compiled.run(x=x)["y"] == x + 2 * weights["a"] + 3 * weights["b"]).all()


# Mistakes


@pytest.mark.parametrize(
    ("feeds", "error", "word"),
    [
        ({}, ValueError, "needs input 'x'"),
        ({"x": integers(SHAPE), "z": integers(SHAPE)}, ValueError, "no input 'z'"),
        ({"x": integers((4, 3))}, ValueError, r"must be float32\[3, 4\], got float32\[4, 3\]"),
        ({"x": integers(SHAPE).astype(np.float64)}, ValueError, r"got float64\[3, 4\]"),
        ({"x": [1.0]}, TypeError, "got list"),
    ],
)
def test_wrong_inputs_are_named(feeds, error, word, tmp_path) -> None:
    with pytest.raises(error, match=word):
        build(small(), tmp_path).run(**feeds)


@pytest.mark.parametrize("place", ["file", "file/below/it", "/proc/nowhere"])
def test_a_directory_that_cannot_be_written_is_one_error_and_no_file(place: str, tmp_path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="cannot write to"):
        build(small(), tmp_path / place)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "in the way"


def test_a_kernel_that_does_not_compile_leaves_nothing(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(NetworkText, "units", lambda self, count: ["int f(void) { return 1; }", "not C"])
    with pytest.raises(CompileError, match="not"):
        build(small(), tmp_path / "a" / "b")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damage", ["empty", "no library", "no weights", "bad json", "other format", "bad library"])
def test_a_directory_that_is_no_network_is_one_error(damage: str, tmp_path) -> None:
    if damage != "empty":
        build(small(), tmp_path)
    description = tmp_path / "network.json"
    if damage == "no library":
        (tmp_path / "model.so").unlink()
    elif damage == "no weights":
        (tmp_path / "weights.bin").unlink()
    elif damage == "bad json":
        description.write_text("{")
    elif damage == "other format":
        description.write_text(json.dumps({"format": 99}))
    elif damage == "bad library":
        (tmp_path / "model.so").unlink()
        (tmp_path / "model.so").write_bytes(b"no library")
    with pytest.raises(ValueError, match=re.escape(str(tmp_path))):
        CompiledNetwork.load(tmp_path)


ADD = elementwise("add", SHAPE, 1, 1, False)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"calls": (KernelCall(ADD, ("h",), ("y",)),)}, "'h' is used before"),
        ({"calls": (KernelCall(ADD, ("x",), ("h",)),)}, "output 'y' is never computed"),
        ({"calls": (KernelCall(ADD, ("x",), ("y",)),) * 2}, "'y' is computed a second time"),
        ({"calls": (KernelCall(ADD, ("x",), ("w",)),)}, "'w' is computed a second time"),
        ({"calls": (KernelCall(ADD, ("x", "x"), ("y",)),)}, "1 such arguments, got 2"),
        ({"values": {"h": TensorType((5,)), "y": KIND}}, r"float32\[3, 4\], but 'h' is float32\[5\]"),
        ({"values": {}}, "'h' has no type"),
        ({"outputs": {}}, "no outputs"),
        ({"inputs": {"x": KIND, "w": KIND}}, "both an input and a weight"),
        ({"aliases": {"h": "y", "y": "h"}}, "leads back to itself"),
        ({"aliases": {"y": "z"}, "values": {"y": KIND, "h": KIND, "z": TensorType((5,))}}, "cannot share 'z'"),
    ],
)
def test_impossible_networks_are_named(changes, word: str) -> None:
    with pytest.raises(NetworkError, match=word):
        small(**changes)


def test_kernels_with_two_outputs_and_no_inputs(tmp_path) -> None:
    ones = Buffer("out", SHAPE)
    constant = LoopNest("ones", (), (ones,), loops(SHAPE, lambda i: Store(ones, i, _float(1.0))))
    calls = (KernelCall(constant, (), ("c",)), KernelCall(two_outputs("two", SHAPE), ("c",), ("d", "m")))
    network = Network("n", {}, {"m": KIND, "d": KIND}, {}, {name: KIND for name in "cdm"}, calls)
    found = build(network, tmp_path).run()
    assert (found["d"] == 2).all() and (found["m"] == -1).all()
    assert "from nothing" in emit_network(network)


def _float(value: float):
    from runtime.expr import Const

    return Const(value, "float32")
