"""A tuner killed at any moment loses no record that it has reported, and the next one goes on from there."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pytest

from ansor_mini.__main__ import main
from ansor_mini.evolution import EvolutionOptions
from ansor_mini.records import Record, RecordFile, read_records
from ansor_mini.task_tuner import Measurer, OnResult, SearchOptions, Task, TaskTuner
from ansor_mini.tuner import tune
from ansor_mini.workloads import parse_workload
from runtime.loop_nest import LoopNest
from runtime.measure_case import MeasureResult

WORKLOAD = "matmul:16,16,8"
KILLS, KILLS_PER_FILE = 50, 10


def identity(record: Record) -> str:
    """Which program and which time."""
    text = json.dumps([record.steps, sorted(record.annotation.items()), record.seconds])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def fake(nests: Sequence[LoopNest], on_result: OnResult) -> None:
    """Measure by hashing the text, three milliseconds each."""
    for number, nest in enumerate(nests):
        time.sleep(0.003)
        seconds = 1e-6 * (1 + int(hashlib.sha256(str(nest).encode()).hexdigest()[:4], 16))
        on_result(number, MeasureResult("ok", (seconds, 1.5 * seconds)))


def search(path: Path, seed: int, report: int, measurer: Measurer = fake) -> None:
    """Tune for ever, on from what is there; write each record's identity to `report` once it is measured."""
    dag = parse_workload(WORKLOAD)

    def observer(tuner: TaskTuner, record: Record) -> None:
        os.write(report, identity(record).encode() + b"\n")

    with RecordFile(path, workload=WORKLOAD) as records:
        tune(
            Task(dag.key(), dag),
            trials=1_000_000,
            rng=np.random.default_rng(seed),
            measurer=measurer,
            records=records,
            resume=read_records(path),
            options=SearchOptions(evolution=EvolutionOptions(population=32, generations=1), round_size=8),
            observer=observer,
        )


def child(path: Path, seed: int, report: Connection) -> None:
    """What the parent sees of it is the file and the report."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        search(path, seed, report.fileno())


def check(path: Path, reported: Sequence[str]) -> int:
    """Every reported record is in the file, which parses; returns how many records there are."""
    records = read_records(path) if path.exists() else []
    assert set(reported) <= {identity(record) for record in records}
    programs = {(record.steps, *sorted(record.annotation.items())) for record in records}
    assert len(programs) == len(records), "resuming measured a program again"
    return len(records)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_fifty_kills_at_random_moments_lose_nothing_reported(tmp_path: Path) -> None:
    rng, context = np.random.default_rng(0), multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])  # a process without threads, from which children start at once
    total = 0
    for kill in range(KILLS):
        path = tmp_path / f"records{kill // KILLS_PER_FILE}.jsonl"
        if kill % KILLS_PER_FILE == 0:
            reported: list[str] = []
            known = 0
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=child, args=(path, kill, theirs))
        process.start()
        theirs.close()
        with ours, open(ours.fileno(), "rb", closefd=False) as pipe:
            if kill % 2:  # every other one gets to measure something
                reported.append(pipe.readline().decode().strip())
            time.sleep(rng.uniform(0.0, 0.2))
            process.kill()
            process.join()
            reported += pipe.read().decode().splitlines()
        assert process.exitcode == -signal.SIGKILL
        found = check(path, reported)
        # One record may be on the disk whose report was cut off.
        assert known <= found <= len(reported) + kill % KILLS_PER_FILE + 1
        total, known = total + found - known, found
    assert total > KILLS


REAL = """
import sys
from pathlib import Path
from ansor_mini.local_measurer import LocalMeasurer
from ansor_mini.workloads import parse_workload
from tests.ansor_mini.test_sigkill import WORKLOAD, search

with LocalMeasurer(parse_workload(WORKLOAD)) as measurer:
    search(Path(sys.argv[1]), int(sys.argv[2]), 1, measurer)
"""


@pytest.mark.cc
@pytest.mark.slow
def test_kills_while_programs_are_really_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, rng, reported = tmp_path / "records.jsonl", np.random.default_rng(0), []
    root = Path(__file__).parents[2]
    for kill in range(3):
        command = [sys.executable, "-c", REAL, str(path), str(kill)]
        child = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, cwd=root, env={**os.environ, "TMPDIR": str(tmp_path)}
        )
        assert child.stdout is not None
        reported.append(child.stdout.readline().strip())
        time.sleep(rng.uniform(0.0, 1.0))
        child.kill()
        reported += child.communicate()[0].splitlines()
        found = check(path, reported)
        assert len(reported) <= found <= len(reported) + kill + 1
    assert main(["tune", WORKLOAD, "--out", str(path), "--resume", "--trials", str(found + 2), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["trials"] == found + 2 == check(path, reported)


def test_a_file_cut_anywhere_keeps_the_lines_before_the_cut(tmp_path: Path) -> None:
    """What a power failure leaves: any prefix of the file."""
    path = tmp_path / "records.jsonl"
    with RecordFile(path) as file:
        for task in "aab":
            file.append(Record(task, ("step",), {"x": 1}, "ok", (1.0,)))
    whole = path.read_bytes()
    ends = [at for at in range(len(whole)) if whole[at : at + 1] == b"\n"]
    is_record = [line.startswith(b'{"of"') for line in whole.splitlines()]
    near_ends = {end + shift for end in ends for shift in (-1, 0, 1)}
    for cut in sorted({*range(0, len(whole), 29), *near_ends}):
        path.write_bytes(whole[:cut])
        # A line whose end alone is missing can be read.
        complete = sum(end <= cut and there for end, there in zip(ends, is_record))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert len(read_records(path)) == complete
            with RecordFile(path) as file:
                file.append(Record("c", ("step",), {"x": 1}, "ok", (1.0,)))
            assert [record.task for record in read_records(path)] == [*"aab"[:complete], "c"]
