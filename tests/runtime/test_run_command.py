"""`python -m runtime run`: a compiled network on files, and each mistake as one sentence with status 2."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from runtime.__main__ import main
from runtime.executor import build
from runtime.graph import TensorType
from runtime.network import KernelCall, Network
from tests.strategies.networks import elementwise

pytestmark = pytest.mark.cc
SHAPE = (2, 3)
X = np.arange(6, dtype=np.float32).reshape(SHAPE)


@pytest.fixture(scope="module")
def compiled(tmp_path_factory) -> tuple[Path, Path]:
    """Directories with a network of one input and one of two inputs and outputs."""
    folder, kind = tmp_path_factory.mktemp("networks"), TensorType(SHAPE)
    add = elementwise("add", SHAPE, 2, 1, False)
    values = {"y": kind, "z": kind}
    one = Network("one", {"x": kind}, {"y": kind}, {}, values, (KernelCall(add, ("x", "x"), ("y",)),))
    calls = (KernelCall(add, ("a", "b"), ("y",)), KernelCall(add, ("b", "a"), ("z",)))
    two = Network("two", {"a": kind, "b": kind}, {"y": kind, "z": kind}, {}, values, calls)
    build(one, folder / "one")
    build(two, folder / "two")
    return folder / "one", folder / "two"


@pytest.fixture
def x_file(tmp_path) -> Path:
    np.save(tmp_path / "x.npy", X)
    return tmp_path / "x.npy"


def test_one_input_and_one_output_need_no_names(compiled, x_file, tmp_path, capsys) -> None:
    assert main(["run", str(compiled[0]), "--input", str(x_file), "--output", str(tmp_path / "y.npy")]) == 0
    assert (np.load(tmp_path / "y.npy") == 3 * X + 1).all()
    assert capsys.readouterr().out == f"y: float32[2, 3], 1 to 16 -> {tmp_path / 'y.npy'}\n"


def test_several_have_names_and_not_every_output_must_be_written(compiled, x_file, tmp_path, capsys) -> None:
    np.save(tmp_path / "b.npy", 10 * X)
    files = ["--input", f"a={x_file}", "--input", f"b={tmp_path / 'b.npy'}", "--output", f"z={tmp_path / 'z.npy'}"]
    assert main(["run", str(compiled[1]), *files, "--json", "--time"]) == 0
    assert (np.load(tmp_path / "z.npy") == 12 * X + 1).all()
    report = json.loads(capsys.readouterr().out)
    assert report["network"] == "two" and list(report["written"]) == ["z"] and report["milliseconds"] > 0


def mistake(arguments: list[str], capsys) -> str:
    assert main(["run", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.startswith("error: ") and captured.err.count("\n") == 1
    return captured.err


def test_each_mistake_is_one_sentence(compiled, x_file, tmp_path, capsys) -> None:
    one, two, x = str(compiled[0]), str(compiled[1]), str(x_file)
    (tmp_path / "text.npy").write_text("no array")
    (tmp_path / "cut.npy").write_bytes(x_file.read_bytes()[:100])
    np.savez(tmp_path / "many.npz", X)
    np.save(tmp_path / "wide.npy", X.T)
    assert "not a compiled network" in mistake([str(tmp_path), "--input", x], capsys)
    assert "--input x=FILE" in mistake([one], capsys)
    assert "no file" in mistake([one, "--input", str(tmp_path / "absent.npy")], capsys)
    assert "not a NumPy" in mistake([one, "--input", str(tmp_path / "text.npy")], capsys)
    assert "not a NumPy" in mistake([one, "--input", str(tmp_path / "cut.npy")], capsys)
    assert "archive" in mistake([one, "--input", str(tmp_path / "many.npz")], capsys)
    assert "float32[2, 3]" in mistake([one, "--input", str(tmp_path / "wide.npy")], capsys)
    assert "twice" in mistake([one, "--input", x, "--input", x], capsys)
    assert "NAME=FILE" in mistake([two, "--input", x], capsys)
    assert "NAME=FILE" in mistake([one, "--input", f"q={x}"], capsys)


@pytest.mark.parametrize("place", ["absent/y.npy", "x.npy/y.npy", "folder"])
def test_an_output_that_cannot_be_written_leaves_nothing(place: str, compiled, x_file, tmp_path, capsys) -> None:
    (tmp_path / "folder").mkdir()
    names = ["--output", f"y={tmp_path / 'good.npy'}", "--output", f"z={tmp_path / place}"]
    arguments = [str(compiled[1]), "--input", f"a={x_file}", "--input", f"b={x_file}", *names]
    assert "cannot write" in mistake(arguments, capsys)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "x.npy"]
