"""A search for a GPU with a model in place of measurements: records say so, and are not mixed with measured ones."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from ansor_mini.__main__ import main
from ansor_mini.evolution import EvolutionOptions
from ansor_mini.model_measurer import CheckedMeasurer, ModelMeasurer, checked_mistake
from ansor_mini.record import MEASURED, MODEL, OK, Record, best_of
from ansor_mini.record_lines import LineReader, LineWriter
from ansor_mini.records import read_records
from ansor_mini.sketch import Program, Sketch
from ansor_mini.target import cuda_target, target_of
from ansor_mini.task import SearchOptions, Task
from ansor_mini.tuner import tune
from ansor_mini.workloads import parse_workload
from runtime.gpu import gpu
from runtime.gpu_model import predict
from runtime.loop_nest import LoopNest
from runtime.loop_nest_text import parse
from runtime.machine import detect
from runtime.measure_case import MeasureCase, MeasureResult
from tests.benchmarks.sgemm_ladder import naive

H100 = gpu("h100")
FEW = EvolutionOptions(population=32, generations=1)


def options() -> SearchOptions:
    """Of a small search."""
    return SearchOptions(**{**vars(cuda_target(H100).options), "evolution": FEW, "round_size": 8})


def search(text: str, trials: int, measurer, **arguments):
    dag = parse_workload(text)
    task = Task(dag.key(), dag)
    rng = np.random.default_rng(0)
    return tune(task, trials=trials, rng=rng, measurer=measurer, machine=H100, options=options(), **arguments)


def test_the_target_follows_the_machine() -> None:
    assert target_of(detect()).name == "cpu"
    assert target_of(H100).name == "cuda"


def test_the_model_finds_something_better_than_the_default_and_calls_it_a_model() -> None:
    kept: list[Record] = []

    class Sink:
        def append(self, record: Record) -> None:
            kept.append(record)

    dag = parse_workload("matmul:1024,1024,1024")
    default = Program(Sketch(dag, cuda_target(H100).default(dag)))
    result = search("matmul:1024,1024,1024", 24, ModelMeasurer(H100), records=Sink(), seeds=[default])
    assert result.best is not None
    assert result.best_seconds < 0.5 * predict(default.lower(), H100).seconds
    assert len(kept) == 24 and {record.source for record in kept} == {MODEL}
    assert best_of(kept) is None
    best = best_of(kept, source=MODEL)
    assert best is not None and best.cost == result.best_seconds


def test_predictions_and_measurements_are_not_resumed_from_one_another() -> None:
    kept: list[Record] = []

    class Sink:
        def append(self, record: Record) -> None:
            kept.append(record)

    class Measured:
        def __call__(self, nests: Sequence[LoopNest], on_result) -> None:
            for number, _ in enumerate(nests):
                on_result(number, MeasureResult("ok", (1.0,)))

    search("matmul:64,64,64", 8, ModelMeasurer(H100), records=Sink())
    again = search("matmul:64,64,64", 8, ModelMeasurer(H100), resume=kept)
    assert again.trials == 8 and again.stopped == "trials"
    other = search("matmul:64,64,64", 2, Measured(), resume=kept)
    assert other.trials == 2 and other.best_seconds == 1.0


def test_what_cannot_be_launched_is_a_failure_with_the_models_reason() -> None:
    nest = naive(128, 64)
    assert ModelMeasurer(H100)([nest]) == [MeasureResult("lowering_error", (), "more than 1024 threads a block")]
    assert cuda_target(H100).admit(nest) == "infeasible: more than 1024 threads a block"


def test_records_keep_their_source_and_old_lines_are_measured() -> None:
    record = Record("t", ("step",), {"a": 1}, OK, (1e-6,), source=MODEL, facts={"registers": 40})
    header, line = LineWriter().lines(record)
    reader = LineReader()
    assert reader.read(header) is None and reader.read(line) == record
    plain = Record("t", ("step",), {"a": 1}, OK, (1e-6,))
    assert "source" not in "".join(LineWriter().lines(plain))
    old = json.loads(plain.to_json())
    del old["source"], old["facts"]
    assert Record.from_json(json.dumps(old)) == plain
    assert plain.source == MEASURED


@pytest.mark.cc
def test_checked_programs_are_compared_and_wrong_ones_are_told() -> None:
    rng = np.random.default_rng(0)
    a, b = (rng.integers(-3, 4, (32, 32)).astype(np.float32) for _ in range(2))
    nest = naive(32, 8)
    assert CheckedMeasurer(H100, MeasureCase([a, b], [a @ b]))([nest])[0].ok
    (wrong,) = CheckedMeasurer(H100, MeasureCase([a, b], [a @ b + 1]))([nest])
    assert wrong.kind == "wrong_answer" and "expected" in wrong.reason


@pytest.mark.cc
def test_a_race_is_told_although_the_outputs_may_be_right() -> None:
    nest = parse(
        "def f(A: float32[64]) -> (C: float32[64]):\n  for b in block(2):\n    for t in thread(32):\n"
        "      C[t] = A[t] + 0.0\n      C[t + 32] = A[t + 32] + 0.0"
    )
    array = np.arange(64, dtype=np.float32)
    assert "race" in checked_mistake(nest, MeasureCase([array], [array]))


def test_the_command_says_that_a_model_spoke(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "records.jsonl"
    arguments = ["tune", "matmul:64,64,64", "--trials", "4", "--target", "cuda", "--measure", "model", "--quiet"]
    assert main([*arguments, "--out", str(out)]) == 0
    assert "says a model; nothing was measured" in capsys.readouterr().out
    assert {record.source for record in read_records(out)} == {MODEL}
    assert main([*arguments, "--gpu", "a100", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["source"] == "model" and found["machine"].startswith("NVIDIA A100")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--measure", "model"], "need --target cuda"),
        (["--gpu", "h100"], "need --target cuda"),
        (["--target", "cuda", "--measure", "run"], "one of model, gpu and check"),
        (["--target", "cuda", "--measure", "model", "--gpu", "z80"], "no GPU is called 'z80'"),
        (["--target", "cuda", "--measure", "model", "--threads", "2"], "--threads is for --target cpu"),
    ],
)
def test_options_that_do_not_go_together(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["tune", "matmul:8,8,8", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_commands_show_one_source_at_a_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "records.jsonl")
    assert (
        main(["tune", "matmul:64,64,64", "--trials", "4", "--target", "cuda", "--measure", "model", "--out", out]) == 0
    )
    assert main(["best-of", out]) == 2
    assert "is measured" in capsys.readouterr().err
    assert main(["best-of", out, "--source", "model", "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["seconds"] > 0
    assert main(["replay", out, "--source", "model"]) == 2


class Device:
    """Stands for a GPU that is exactly what the model says, and counts what it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, nests: Sequence[LoopNest], on_result) -> None:
        self.asked += len(nests)
        for number, nest in enumerate(nests):
            on_result(number, MeasureResult("ok", (predict(nest, H100).seconds,)))


def test_programs_that_the_model_thinks_slow_are_not_measured() -> None:
    device = Device()
    screened = search("matmul:256,256,256", 16, device)
    assert device.asked == screened.trials == 16
    assert screened.rejections["slower than others, says the target's model"] > 0
    plain = search("matmul:256,256,256", 16, ModelMeasurer(H100))
    assert not plain.rejections["slower than others, says the target's model"]
