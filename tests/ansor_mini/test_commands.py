"""What the commands make of record files: explain, train, replay, best-of, diff, pack."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ansor_mini.__main__ import main
from ansor_mini.annotation import sample
from ansor_mini.commands.base import Programs
from ansor_mini.commands.explain import SECTIONS, feature_values
from ansor_mini.curve import draw_curves, save_plot, value_at
from ansor_mini.feature_names import FEATURE_NAMES
from ansor_mini.records import Record, read_records, write_records
from ansor_mini.schedule import ScheduleError
from ansor_mini.sketch import Program, derive
from ansor_mini.workloads import parse_workload
from runtime.machine import detect

WORKLOAD = "matmul:16,24,8"
Capture = pytest.CaptureFixture[str]


def programs(count: int) -> list[Program]:
    """Random programs that can be lowered, all different."""
    rng, sketches = np.random.default_rng(0), derive(parse_workload(WORKLOAD))
    found: dict[Program, object] = {}
    while len(found) < count:
        program = sample(sketches[int(rng.integers(len(sketches)))], rng, detect())
        try:
            found.setdefault(program, program.lower())
        except ScheduleError:
            continue
    return list(found)


def recorded(program: Program, seconds: float, kind: str = "ok", threads: int = 1) -> Record:
    times = (1.1 * seconds, seconds) if kind == "ok" else ()
    key = parse_workload(WORKLOAD).key()
    reason = "" if kind == "ok" else "as injected"
    return Record(
        key, program.sketch.key, program.annotation, kind, times, reason, threads, "a machine", {"python": "3"}
    )


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty programs, slower the larger their unroll limit and the shorter their rows; one failed."""
    path = tmp_path_factory.mktemp("records") / "records.jsonl"
    records = [recorded(p, 1e-6 * (2 + number % 7)) for number, p in enumerate(programs(60))]
    records[10] = recorded(programs(60)[10], 0.0, kind="crash")
    records[20] = recorded(programs(60)[20], 1e-6)
    write_records(path, [replace(record, workload=WORKLOAD) for record in records])
    return path


def test_programs_of_sketches_that_the_rules_do_not_derive() -> None:
    dag = parse_workload(WORKLOAD)
    sketch = derive(dag, structure="SSRS")[0]
    rng, found = np.random.default_rng(0), Programs()
    drawn = [sample(sketch, rng, detect()) for _ in range(3)]
    rebuilt = [found(replace(recorded(program, 1.0), workload=WORKLOAD)) for program in drawn]
    assert [program.annotation for program in rebuilt] == [program.annotation for program in drawn]
    assert all(program.sketch.key == sketch.key for program in rebuilt)


def test_explain_shows_every_section(file: Path, capsys: Capture) -> None:
    assert main(["explain", str(file)]) == 0
    printed = capsys.readouterr().out
    for title, _ in SECTIONS.values():
        assert f"== {title}\n" in printed
    assert "1 us (fastest of 2, median 1.05 us)" in printed and "on a machine" in printed
    assert (
        ".i\n" in printed
        and "lengths=(" in printed
        and "def kernel(A: float32[16, 8]" in printed
        and "void kernel(" in printed
    )
    assert "float_mad=" in printed and "rank " in printed and " of 60 predicted, 1 measured" in printed


def test_explain_a_failure_and_for_machines(file: Path, capsys: Capture) -> None:
    assert main(["explain", str(file), "--number", "11", "--show", "measured,steps"]) == 0
    printed = capsys.readouterr().out
    assert "crash: as injected" in printed and "loop nest" not in printed
    assert main(["explain", str(file), "--json"]) == 0
    line = json.loads(capsys.readouterr().out)
    assert line["seconds"] == 1e-6 and line["predicted"]["measured_rank"] == 1 and "void kernel(" in line["c"]
    assert all(set(values) <= set(FEATURE_NAMES) for values in line["features"].values())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--number", "61"], "--number must be from 1 to 60, got 61"),
        (["--show", "poem"], "there is no poem"),
        (["--threads", "7"], "none of 60 records"),
    ],
)
def test_explain_says_what_is_wrong(file: Path, arguments: list[str], message: str, capsys: Capture) -> None:
    assert main(["explain", str(file), *arguments]) == 2
    assert message in capsys.readouterr().err


def test_a_record_that_names_no_workload_needs_one(tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "records.jsonl"
    write_records(path, [recorded(programs(1)[0], 1e-6)])
    show = ["explain", str(path), "--show", "steps"]
    assert main(show) == 2 and "give --workload" in capsys.readouterr().err
    assert main([*show, "--workload", WORKLOAD]) == 0
    assert main([*show, "--workload", "matmul:8,8,8"]) == 2
    assert "are not of matmul:8,8,8" in capsys.readouterr().err


def test_features_have_a_row_for_each_statement() -> None:
    program = next(program for program in programs(30) if len(program.sketch.stages) == 2)
    values = feature_values(program)
    assert set(values) == {"C.local", "C"} and values["C.local"]["float_mad"] >= 16 * 24 * 8


def test_train_tests_the_model_and_tune_takes_it(file: Path, tmp_path: Path, capsys: Capture) -> None:
    model = tmp_path / "model.npz"
    assert main(["train", str(file), "--out", str(model), "--json"]) == 0
    *tasks, total = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["task"], line["held_out"]) for line in tasks] == [(WORKLOAD, 12)]
    assert total["programs"] == 60 and 0 <= total["pairwise_accuracy"] <= 1
    assert main(["explain", str(file), "--model", str(model), "--show", "predicted"]) == 0
    assert "rank " in capsys.readouterr().out
    assert main(["train", str(file), "--held-out", "1.5"]) == 2


@pytest.mark.cc
def test_replay_measures_and_checks_again(file: Path, capsys: Capture) -> None:
    command = ["replay", str(file), "--top", "2", "--repeats", "1", "--min-repeat-seconds", "1e-5", "--cold-caches"]
    assert main([*command, "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["recorded"] for line in lines] == [1e-6, 2e-6]
    assert all(line["kind"] == "ok" and line["seconds"] > 0 for line in lines)


def test_best_of_names_the_fastest_of_every_task(file: Path, tmp_path: Path, capsys: Capture) -> None:
    best = tmp_path / "best.jsonl.gz"
    assert main(["best-of", str(file), str(file), "--curve", "--out", str(best)]) == 0
    printed = capsys.readouterr().out
    assert f"{WORKLOAD}        1       120       2  1 us" in printed and "120 trials" in printed
    assert [record.cost for record in read_records(best)] == [1e-6]
    assert main(["best-of", str(file), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["failed"] == 1


def test_diff_compares_task_by_task(file: Path, tmp_path: Path, capsys: Capture) -> None:
    other = tmp_path / "other.jsonl"
    twice = recorded(programs(1)[0], 0.5e-6)
    write_records(other, [replace(twice, workload=WORKLOAD), replace(twice, workload="softmax:4,4", threads=2)])
    assert main(["diff", str(file), str(other)]) == 0
    printed = capsys.readouterr().out
    assert "2.000" in printed and "geometric mean over 1 tasks in both: 2.000" in printed and "softmax:4,4" in printed
    assert main(["diff", str(file), str(other), "--trials", "20", "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[0])["speedup"] == 4.0
    assert main(["diff", str(file), str(other), "--threads", "2"]) == 2


def test_pack_joins_and_compresses(file: Path, tmp_path: Path, capsys: Capture) -> None:
    packed = tmp_path / "all.jsonl.gz"
    assert main(["pack", str(file), str(file), "--out", str(packed)]) == 0
    assert "120 records" in capsys.readouterr().out
    assert read_records(packed) == read_records(file) * 2
    assert packed.stat().st_size < file.stat().st_size / 3


def test_curves_are_drawn_and_saved(tmp_path: Path) -> None:
    curves = {"full": [(1, 4e-6), (9, 1e-6)], "beam": [(2, 3e-6)]}
    drawn = draw_curves(curves, 10, width=10, height=4)
    assert drawn.splitlines()[0] == "4 us |********"
    assert drawn.splitlines()[-1].split() == ["*", "full", "o", "beam"]
    assert draw_curves({"nothing": []}, 10) == ""
    assert value_at(curves["beam"], 1) == float("inf")
    pytest.importorskip("matplotlib")
    assert save_plot(tmp_path / "new" / "curve.png", curves, 10).stat().st_size > 1000
    with pytest.raises(ValueError, match="poem"):
        save_plot(tmp_path / "curve.poem", curves, 10)
