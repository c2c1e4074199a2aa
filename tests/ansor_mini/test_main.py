"""The command line: results on stdout, mistakes in one sentence, records that a second run goes on from."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from ansor_mini.__main__ import COMMANDS, build_parser, main
from ansor_mini.records import read_records


def test_sketches_are_printed_as_loop_nests_and_for_machines(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sketches", "matmul:64,64,64"]) == 0
    printed = capsys.readouterr().out
    assert "sketch 1 of " in printed and "for i.0 in range(C.i[0]):" in printed and "C.local += ..." in printed
    assert main(["sketches", "matmul:64,64,64", "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["sketch"] for line in lines] == list(range(len(lines))) and len(lines) >= 3
    assert any(line["holes"].get("C.i") == "tile" and "C += ..." in line["loops"] for line in lines)


def test_every_command_starts_its_help_with_an_example_that_it_understands(capsys: pytest.CaptureFixture[str]) -> None:
    for command in COMMANDS:
        with pytest.raises(SystemExit):
            main([command.name, "--help"])
        assert capsys.readouterr().out.startswith(f"example: {command.example}\n")
        arguments = build_parser().parse_args(command.example.split()[3:])
        assert arguments.run is command.run


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sketches", "nothing:1"], "unknown workload"),
        (["sketches", "matmul:8,8,8", "--structure", "XYZ"], "structure"),
        (["tune", "matmul:8,8"], "needs 3 numbers"),
        (["tune", "matmul:8,8,8", "--threads", "0"], "--threads"),
        (["tune", "matmul:8,8,8", "--resume"], "--resume needs --out"),
        (["tune", "matmul:8,8,8", "--repeats", "0"], "--repeats must be above 0"),
        (["tune", "matmul:8,8,8", "--model", "nowhere.npz"], "--model must be one of"),
        (["replay", "nowhere.jsonl"], "nowhere.jsonl: No such file"),
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
    assert {record.workload for record in read_records(out)} == {"matmul:16,16,16"}


@pytest.mark.cc
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_a_full_disk_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tune", "matmul:4,4,4", "--trials", "1", "--out", "/dev/full", "--quiet"]) == 2
    assert capsys.readouterr().err == "error: /dev/full: No space left on device\n"
