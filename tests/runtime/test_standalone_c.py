"""Stand-alone C programs: they build without a warning, say what the loaded library says, and keep nothing."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from runtime.compile_c import find_compiler
from runtime.compiled_network import CompiledNetwork
from runtime.executor import build
from runtime.graph import TensorType
from runtime.network import KernelCall, Network
from runtime.staging import OutputError
from runtime.standalone_c import PROGRAM_FILES, SOURCES
from tests.strategies.networks import elementwise, two_outputs

pytestmark = pytest.mark.cc
SHAPE = (30, 10)
KIND = TensorType(SHAPE)
STRICT = ("-O3", "-march=native", "-std=gnu11", "-Wall", "-Wextra", "-Werror")
SANITIZERS = ("-O1", "-g", "-march=native", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")


def clang() -> list[str] | None:
    """A clang of this machine: its own, or the one in the ziglang package."""
    if shutil.which("clang"):
        return ["clang"]
    return [sys.executable, "-m", "ziglang", "cc"] if importlib.util.find_spec("ziglang") else None


def program(folder: Path, flags: Sequence[str], compiler: Sequence[str] = ()) -> list[str]:
    """Build the program in a folder; returns the command that runs it."""
    command = [*(compiler or find_compiler().command), *flags, *SOURCES, "-lm", "-o", "program"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    return [str(folder / "program")]


def outputs_of(network: CompiledNetwork, command: list[str], feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Run a program on inputs through files."""
    folder = Path(command[0]).parent
    for name, array in feeds.items():
        array.tofile(folder / f"{name}.bin")
    files = [f"{name}.bin" for name in (*network.inputs, *network.outputs)]
    subprocess.run([*command, *files], cwd=folder, check=True, capture_output=True, timeout=120)
    found = {name: np.fromfile(folder / f"{name}.bin", kind.dtype) for name, kind in network.outputs.items()}
    return {name: array.reshape(network.outputs[name].shape) for name, array in found.items()}


@pytest.fixture(scope="module")
def network() -> CompiledNetwork:
    """Two inputs and outputs, weights, kernels with a workspace, parallel loops, a copied output."""
    calls = (
        KernelCall(elementwise("first", SHAPE, 3, 1, True), ("a", "b", "w"), ("h",)),
        KernelCall(two_outputs("pair", SHAPE), ("h",), ("y", "minus")),
        KernelCall(elementwise("last", SHAPE, 2, 0, False), ("minus", "a"), ("z",)),
    )
    weights = {"w": np.random.default_rng(2).standard_normal(SHAPE).astype(np.float32)}
    types = {name: KIND for name in ("h", "y", "minus", "z")}
    outputs = {"y": KIND, "z": KIND, "same": TensorType((300,))}
    return build(
        Network("to-c", {"a": KIND, "b": KIND}, outputs, weights, types | {"same": TensorType((300,))}, calls,
                {"same": "z"}), threads=2
    )  # fmt: skip


def feeds() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    return {name: rng.standard_normal(SHAPE).astype(np.float32) for name in ("a", "b")}


@pytest.mark.parametrize("openmp", [True, False])
def test_the_program_gives_the_same_bits(network: CompiledNetwork, openmp: bool, tmp_path: Path) -> None:
    network.emit_c(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == set(PROGRAM_FILES)
    found = outputs_of(network, program(tmp_path, (*STRICT, *(["-fopenmp"] if openmp else []))), feeds())
    for name, array in network.run(**feeds()).items():
        assert found[name].tobytes() == array.tobytes(), name


@pytest.mark.slow
@pytest.mark.skipif(clang() is None, reason="no clang; `pip install ziglang`")
def test_clang_builds_it_without_a_warning(network: CompiledNetwork, tmp_path: Path) -> None:
    network.emit_c(tmp_path)
    found = outputs_of(network, program(tmp_path, STRICT, clang() or ()), feeds())
    for name, array in network.run(**feeds()).items():
        np.testing.assert_allclose(found[name], array, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_the_sanitizers_find_nothing(network: CompiledNetwork, tmp_path: Path) -> None:
    network.emit_c(tmp_path)
    found = outputs_of(network, program(tmp_path, (*SANITIZERS, "-fopenmp")), feeds())
    for name, array in network.run(**feeds()).items():
        np.testing.assert_allclose(found[name], array, rtol=1e-5, atol=1e-6)


def test_the_code_has_no_variables_of_its_own(network: CompiledNetwork, tmp_path: Path) -> None:
    if shutil.which("nm") is None:
        pytest.skip("no nm")
    network.emit_c(tmp_path)
    command = [*find_compiler().command, "-O1", "-march=native", "-fopenmp", "-c", "model.c", "-o", "model.o"]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=60)
    said = subprocess.run(["nm", "model.o"], cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    kinds = {line.split()[-1]: line.split()[-2] for line in said.splitlines()}
    assert kinds["to_c_run"] == "T"
    assert not [name for name, kind in kinds.items() if kind in "bBdDC"], said
    assert all(name.startswith("to_c_") for name, kind in kinds.items() if kind == "T")


def test_two_networks_fit_into_one_program(tmp_path: Path) -> None:
    for name, constant in (("one", 1), ("two", 2)):
        call = KernelCall(elementwise("add", (3,), 2, constant, False), ("x", "w"), ("y",))
        three, weights = TensorType((3,)), {"w": np.full(3, constant, np.float32)}
        build(Network(name, {"x": three}, {"y": three}, weights, {"y": three}, (call,))).emit_c(tmp_path / name)
    (tmp_path / "main.c").write_text(
        """#include <stdio.h>
#include "one/model.h"
#include "two/model.h"
int main(void)
{
    _Alignas(64) static char workspace[ONE_WORKSPACE_BYTES + TWO_WORKSPACE_BYTES];
    _Alignas(64) float x[3] = {1, 2, 3};
    _Alignas(64) float y[3];
    _Alignas(64) float z[3];
    const void *inputs[] = {x}, *again[] = {y};
    void *outputs[] = {y}, *last[] = {z};
    one_run(inputs, outputs, one_weights, workspace);
    two_run(again, last, two_weights, workspace);
    printf("%g %g %g", z[0], z[1], z[2]);
    return 0;
}
"""
    )
    compiler = [*find_compiler().command, "-O1", "-march=native", "-c"]
    for name in ("one", "two"):
        subprocess.run([*compiler, "model.c", "weights.c"], cwd=tmp_path / name, check=True, timeout=60)
    objects = [f"{name}/{part}.o" for name in ("one", "two") for part in ("model", "weights")]
    link = [*find_compiler().command, "main.c", *objects, "-lm", "-o", "both"]
    subprocess.run(link, cwd=tmp_path, check=True, timeout=60)
    said = subprocess.run(["./both"], cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    assert said == "10 11 12"  # (x + 2 * 1 + 1) + 2 * 2 + 2


def test_the_program_says_what_is_wrong_with_its_files(network: CompiledNetwork, tmp_path: Path) -> None:
    network.emit_c(tmp_path)
    (command,) = program(tmp_path, ("-O1", "-march=native"))
    ones = subprocess.run([command], capture_output=True, text=True, timeout=60)
    assert ones.returncode == 0 and "ms" in ones.stdout and ones.stdout.startswith("y: ")
    one = np.ones(SHAPE, np.float32)
    wanted = network.run(a=one, b=one)["y"].reshape(-1)[:8]
    assert [np.float32(word) for word in ones.stdout.splitlines()[0].split()[1:9]] == wanted.tolist()
    (tmp_path / "short.bin").write_bytes(b"1234")
    (tmp_path / "long.bin").write_bytes(bytes(1201))
    for file in ("short.bin", "long.bin", "absent.bin"):
        arguments = [str(tmp_path / file), *(str(tmp_path / f"{name}.bin") for name in ("b", "y", "z", "same"))]
        failed = subprocess.run([command, *arguments], capture_output=True, text=True, timeout=60)
        assert failed.returncode == 2 and f"{file}: expected 1200 bytes for a" in failed.stderr
    assert subprocess.run([command, "one"], capture_output=True, timeout=60).returncode == 2


def test_weights_of_another_network_give_another_text(tmp_path: Path) -> None:
    kind = TensorType((4,))
    texts = set()
    for value in (1.0, 2.0):
        call = KernelCall(elementwise("add", (4,), 2, 0, False), ("x", "w"), ("y",))
        weights = {"w": np.full(4, value, np.float32)}
        build(Network("n", {"x": kind}, {"y": kind}, weights, {"y": kind}, (call,))).emit_c(tmp_path)
        texts.add((tmp_path / "weights.c").read_text())
    assert len(texts) == 2


def test_a_directory_that_cannot_be_written_is_one_error(network: CompiledNetwork, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="cannot write to"):
        network.emit_c(tmp_path / "file" / "c")
