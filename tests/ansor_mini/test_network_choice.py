"""Choices of whole networks' programs among records: kept, read back, preferred, and harmless when damaged."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ansor_mini.default_schedule import default_nest
from ansor_mini.network import plain_nest
from ansor_mini.network_choice import NetworkChoice, as_program, choice_for, kernel_key, kernels_key
from ansor_mini.partition import partition
from ansor_mini.recorded_kernels import (
    candidates_of,
    choose_programs,
    dags_of,
    fastest_programs,
    nests_of_choice,
    recorded_best,
    recorded_nests,
)
from ansor_mini.records import Record, RecordFile, read_choices, read_records, write_records
from runtime.graph import Graph, GraphBuilder
from runtime.machine import detect

MACHINE = detect()


def products(times: int = 1) -> Graph:
    """One kernel, run so many times."""
    build = GraphBuilder("products")
    value = build.input("x", (8, 8))
    for _ in range(times):
        value = build.add("matmul", value, value)
    return build.finish(value)


PARTS = partition(products())
(KEY,) = {part.key for part in PARTS}
DAG = dags_of(PARTS)[KEY]


def records() -> list[Record]:
    """The default schedule, and plain loops said to be faster."""
    (default,) = candidates_of({KEY: DAG}, [], MACHINE, 1)[KEY]
    plain = replace(default, steps=(), annotation={})
    return [replace(plain, seconds=(1e-6,), time=1.0), replace(default, seconds=(2e-6,), time=2.0)]


def choice(record: Record, threads: int = 1, machine: str = MACHINE.line, time: float = 5.0) -> NetworkChoice:
    programs = {kernel_key(KEY): as_program(record)}
    return NetworkChoice("products", kernels_key(PARTS), threads, machine, programs, {"a": 1e-5}, "a", time)


def test_choices_are_kept_among_records(tmp_path: Path) -> None:
    plain, default = records()
    path = tmp_path / "records.jsonl"
    with RecordFile(path) as file:
        file.append(choice(default))
        file.append(plain)
    with RecordFile(path) as file:
        file.append(choice(plain))
    assert read_records(path) == [plain]
    assert read_choices(path) == [choice(default), choice(plain)]
    assert path.read_text().count('"steps"') == 2, "what programs share is written once"
    write_records(tmp_path / "packed.gz", [*read_records(path), *read_choices(path)])
    assert read_choices(tmp_path / "packed.gz") == [choice(default), choice(plain)]
    assert str(choice(plain)) == "a (a 0.010 ms)"


@pytest.mark.parametrize(
    ("old", "new"), [('"of":"', '"of":"x'), ('"kernels"', '"k"'), ('"programs":{', '"programs":[{')]
)
def test_a_damaged_choice_is_skipped_alone(old: str, new: str, tmp_path: Path) -> None:
    plain, default = records()
    path = tmp_path / "records.jsonl"
    with RecordFile(path) as file:
        file.append(plain)
        file.append(choice(default))
    *lines, last = path.read_text().splitlines()
    path.write_text("\n".join([*lines, last.replace(old, new)]) + "\n")
    with pytest.warns(UserWarning, match="skipped 1 unreadable"):
        assert read_choices(path) == []
    with pytest.warns(UserWarning, match="skipped 1 unreadable"):
        assert read_records(path) == [plain]


def test_the_choice_for_these_kernels_threads_and_machine_counts() -> None:
    plain, default = records()
    elsewhere, here, later = choice(default, machine="other", time=9.0), choice(plain), choice(default, time=6.0)
    assert choice_for([elsewhere, here, later], PARTS, 1, MACHINE.line) is later
    assert choice_for([elsewhere], PARTS, 1, MACHINE.line) is elsewhere
    assert choice_for([here], PARTS, 2, MACHINE.line) is None
    assert choice_for([here], partition(products(2)), 1, MACHINE.line) is None


def test_a_choice_of_other_computations_is_passed_by() -> None:
    """As when the definition of an operator has changed, or a line was edited."""
    plain, default = records()
    made = choice(default)
    assert choice_for([made, choice(replace(plain, task="other"), time=9.0)], PARTS, 1, MACHINE.line) is made
    assert choice_for([replace(made, programs={})], PARTS, 1, MACHINE.line) is None


def test_a_recorded_choice_is_preferred_to_the_fastest_alone(tmp_path: Path) -> None:
    plain, default = records()
    path = tmp_path / "records.jsonl"
    write_records(path, [plain, default])
    (part,) = PARTS
    assert recorded_best(PARTS, path, 1) == {KEY: plain}
    assert recorded_nests(PARTS, path, 1) == {KEY: plain_nest(part)}
    write_records(path, [plain, default, choice(default)])
    assert recorded_nests(PARTS, path, 1) == {KEY: default_nest(part, MACHINE, 1)}
    assert recorded_nests(PARTS, path, 2) == {}


def test_candidates_are_the_fastest_alone_then_the_default_schedule() -> None:
    plain, default = records()
    failed = replace(plain, annotation={"a": 1}, seconds=(1e-9,))
    known = [default, plain, failed, replace(failed, kind="crash"), replace(plain, threads=2, seconds=(1e-9,))]
    found = candidates_of({KEY: DAG}, known, MACHINE, 1)[KEY]
    assert found == [as_program(plain), as_program(default), as_program(default)]
    assert fastest_programs(known, {DAG.key()}, 1, 1) == {DAG.key(): [as_program(plain)]}


def test_candidates_of_this_machine_come_before_faster_ones_of_another() -> None:
    plain, default = records()
    elsewhere = [replace(plain, annotation={"a": n}, seconds=(1e-9,), machine="other") for n in range(3)]
    found = fastest_programs([*elsewhere, default, plain], {DAG.key()}, 1, 3, MACHINE.line)[DAG.key()]
    assert found == list(map(as_program, (plain, default, elsewhere[0])))
    again = replace(elsewhere[0], machine=MACHINE.line, seconds=(3e-6,))
    assert fastest_programs([*elsewhere, again, plain], {DAG.key()}, 1, 2, MACHINE.line)[DAG.key()] == [
        as_program(plain),
        as_program(elsewhere[0]),
    ]


@pytest.mark.cc
@pytest.mark.usefixtures("hasty_choices")
def test_a_choice_names_a_program_of_each_kernel() -> None:
    graph = products(2)
    parts = partition(graph)
    made = choose_programs(graph, parts, records(), machine=MACHINE, threads=1)
    assert (made.kernels, made.threads, made.machine) == (kernels_key(parts), 1, MACHINE.line)
    assert set(made.programs) == {kernel_key(KEY)} and made.programs[kernel_key(KEY)] in map(as_program, records())
    assert made.seconds[made.fastest] == min(made.seconds.values())
    assert set(nests_of_choice(made, dags_of(parts))) == {KEY}
