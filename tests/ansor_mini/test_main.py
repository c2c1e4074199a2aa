"""The command line: results on stdout, mistakes in one sentence, records that a second run goes on from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ansor_mini.__main__ import main
from ansor_mini.records import read_records


def test_sketches_are_printed_for_people_and_machines(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sketches", "matmul:64,64,64"]) == 0
    assert capsys.readouterr().out.count("sketch: ") == 3
    assert main(["sketches", "matmul:64,64,64", "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["sketch"] for line in lines] == [0, 1, 2]
    assert lines[0]["holes"]["C.i"] == "tile"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sketches", "nothing:1"], "unknown workload"),
        (["tune", "matmul:8,8"], "needs 3 numbers"),
        (["tune", "matmul:8,8,8", "--threads", "0"], "--threads"),
        (["tune", "matmul:8,8,8", "--resume"], "--resume needs --out"),
    ],
)
def test_mistakes_are_one_sentence(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert message in captured.err and captured.err.count("\n") == 1 and not captured.out


def test_a_file_of_something_else_is_not_written_to(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("my notes\n")
    assert main(["tune", "matmul:8,8,8", "--out", str(path)]) == 2
    assert path.read_text() == "my notes\n"
    assert "not a record file" in capsys.readouterr().err


@pytest.mark.cc
@pytest.mark.slow
def test_tuning_writes_records_and_resumes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "records.jsonl"
    command = ["tune", "matmul:16,16,16", "--out", str(out), "--json", "--seed", "3"]
    assert main([*command, "--trials", "4"]) == 0
    first = json.loads(capsys.readouterr().out)
    assert first["trials"] == 4 == len(read_records(out)) and first["seed"] == 3 and first["gflops"] > 0
    assert main([*command, "--trials", "6", "--resume"]) == 0
    second = json.loads(capsys.readouterr().out)
    assert second["trials"] == 6 == len(read_records(out)) and second["seconds"] <= first["seconds"]
