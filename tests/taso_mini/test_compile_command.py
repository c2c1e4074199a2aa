"""`python -m taso_mini compile`: what it prints and writes, and one clear sentence for each bad input."""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto

from ansor_mini.records import read_records
from runtime.command_line import BAD_INPUT, DONE, INTERRUPTED
from runtime.executor import CompiledNetwork
from runtime.standalone_c import PROGRAM_FILES
from taso_mini.__main__ import main
from tests.runtime.light_models import model_path
from tests.runtime.onnx_models import IMAGE, model, node, save

pytestmark = pytest.mark.usefixtures("hasty_choices")


def small_model(folder: Path) -> Path:
    """conv → relu → conv, two tasks."""
    rng = np.random.default_rng(0)
    weights = {f"w{i}": rng.standard_normal((4, 4, 3, 3)).astype(np.float32) for i in range(2)}
    nodes = [
        node("Conv", ["x", "w0"], ["a"], pads=[1, 1, 1, 1]),
        node("Relu", ["a"], ["b"]),
        node("Conv", ["b", "w1"], ["y"]),
    ]
    return save(folder, model(nodes, IMAGE, constants=weights))


def programs(out: Path) -> int:
    """How many different programs the records of a directory hold; the best ones are measured twice."""
    return len({(r.task, r.steps, tuple(r.annotation.items())) for r in read_records(out / "records.jsonl")})


@pytest.mark.cc
def test_compile_writes_a_network_that_runs_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    options = ["--trials", "6", "--cost", "flops", "--threads", "2", "--out", str(out), "--json"]
    assert main(["compile", str(small_model(tmp_path)), *options]) == DONE
    report = json.loads(capsys.readouterr().out)
    assert report["trials"] == 6 and report["stopped"] == "trials"
    assert report["max_relative_error"] < 1e-5
    assert [step["rule"] for step in report["substitutions"]]
    assert report["cost_after"] < report["cost_before"]
    for ratio in ("speedup_over_plain", "speedup_over_default", "vs_onnxruntime"):
        assert report[ratio] > 0
    assert programs(out) == 6
    assert {path.name for path in out.iterdir()} == {
        "model.c", "model.so", "weights.bin", "network.json", "records.jsonl", "report.md", "report.json",
    }  # fmt: skip
    assert "for " in (out / "report.md").read_text() and json.loads((out / "report.json").read_text()) == report
    network = CompiledNetwork.load(out)
    x = np.ones((2, 4, 7, 9), np.float32)
    assert network.run(x=x)["y"].shape == (2, 4, 5, 7)


@pytest.mark.cc
def test_without_out_only_the_c_program_stays(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    common = [str(small_model(tmp_path)), "--trials", "0", "--cost", "flops", "--threads", "1", "--quiet"]
    assert main(["compile", *common, "--emit-c", str(tmp_path / "c")]) == DONE
    said = capsys.readouterr().out
    assert "not kept; --out DIR" in said and f"C program in {tmp_path / 'c'}" in said
    assert "alive at one moment" in said
    assert {path.name for path in (tmp_path / "c").iterdir()} == set(PROGRAM_FILES)
    assert main(["compile", *common, "--json"]) == DONE
    report = json.loads(capsys.readouterr().out)
    assert report["directory"] is None and report["c_directory"] is None
    memory = report["memory"]
    assert 0 < memory["lower_bound_bytes"] <= memory["workspace_bytes"] <= memory["values_bytes"]
    assert memory["weights_bytes"] >= 2 * 4 * 4 * 9 * 4
    gc.collect()
    assert list((tmp_path / "temporary").iterdir()) == []


@pytest.mark.cc
def test_resume_goes_on_from_the_records(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, out = str(small_model(tmp_path)), tmp_path / "out"
    common = ["--cost", "flops", "--threads", "1", "--out", str(out), "--json", "--quiet"]
    assert main(["compile", path, "--trials", "4", *common]) == DONE
    first = (out / "records.jsonl").read_text()
    assert main(["compile", path, "--trials", "7", "--resume", *common]) == DONE
    second = (out / "records.jsonl").read_text()
    assert second.startswith(first) and programs(out) == 7
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["trials"] == 7


@pytest.mark.cc
def test_ctrl_c_during_tuning_keeps_every_finished_record(tmp_path: Path) -> None:
    out = tmp_path / "out"
    options = ["--budget-seconds", "60", "--cost", "flops", "--threads", "1", "--out", str(out), "--json"]
    command = [sys.executable, "-m", "taso_mini", "compile", str(small_model(tmp_path)), *options]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, start_new_session=True)
    records = out / "records.jsonl"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not (records.exists() and records.read_text().count('"of":') >= 3):
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == INTERRUPTED, stderr
    assert "Traceback" not in stderr
    report = json.loads(stdout)
    assert report["stopped"] == "interrupted"
    assert 3 <= report["trials"] == programs(out)


def not_onnx(folder: Path) -> Path:
    path = folder / "model.onnx"
    path.write_text("just text")
    return path


def truncated(folder: Path) -> Path:
    path = folder / "model.onnx"
    data = model_path("squeezenet").read_bytes()
    path.write_bytes(data[: len(data) // 2])
    return path


def unsupported(folder: Path) -> Path:
    nodes = [node("HardSwish", ["x"], ["a"], name="first"), node("Magic", ["a"], domain="com.example", name="second")]
    return save(folder, model(nodes, IMAGE))


def open_dimensions(folder: Path) -> Path:
    return save(folder, model([node("Relu", ["x"])], {"x": ("batch", 3)}))


def wrong_dtype(folder: Path) -> Path:
    proto = model([node("Relu", ["x"])], IMAGE)
    proto.graph.input[0].type.tensor_type.elem_type = TensorProto.DOUBLE
    return save(folder, proto)


def lost_weights(folder: Path) -> Path:
    proto = model([node("Add", ["x", "w"])], IMAGE, constants={"w": np.arange(9, dtype=np.float32)})
    tensor = proto.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "gone.bin"
    return save(folder, proto)


def no_such_model(folder: Path) -> Path:
    return folder / "squeezenot"


BAD_MODELS: list[tuple[Callable[[Path], Path], tuple[str, ...]]] = [
    (not_onnx, ("not an ONNX model",)),
    (truncated, ("cut short",)),
    (unsupported, ("HardSwish (node 'first')", "com.example.Magic (node 'second')")),
    (open_dimensions, ("batch", "--shape x=1,3")),
    (wrong_dtype, ("'x'", "double", "float32")),
    (lost_weights, ("gone.bin",)),
    (no_such_model, ("squeezenot", "squeezenet")),
]


def one_sentence(capsys: pytest.CaptureFixture[str], *words: str) -> None:
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = [line for line in captured.err.splitlines() if line.startswith("error:")]
    assert len(lines) == 1 and "Traceback" not in captured.err, captured.err
    for word in words:
        assert word in lines[0], lines[0]


@pytest.mark.cc
@pytest.mark.parametrize(("make", "words"), BAD_MODELS, ids=lambda value: getattr(value, "__name__", ""))
def test_a_bad_model_is_one_sentence_and_writes_nothing(
    make: Callable[[Path], Path], words: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["compile", str(make(tmp_path)), "--out", str(out)]) == BAD_INPUT
    one_sentence(capsys, *words)
    assert not out.exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--trials", "-1"], ("trials", "-1")),
        (["--threads", "0"], ("threads", "0")),
        (["--budget-seconds", "-3"], ("budget_seconds", "-3")),
        (["--shape", "data"], ("--shape", "'data'")),
        (["--resume"], ("--resume", "--out")),
    ],
)
def test_a_bad_option_is_one_sentence(
    options: list[str], words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compile", "squeezenet", *options]) == BAD_INPUT
    one_sentence(capsys, *words)


def test_an_output_directory_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    assert main(["compile", "squeezenet", "--out", str(blocked / "out")]) == BAD_INPUT
    one_sentence(capsys, "cannot write", str(blocked))
    assert blocked.read_text() == "in the way"


def test_no_c_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    assert main(["compile", "squeezenet", "--out", str(tmp_path / "out")]) == BAD_INPUT
    one_sentence(capsys, "no C compiler", "gcc")
    assert not (tmp_path / "out").exists()
