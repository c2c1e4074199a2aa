"""Regions and loops that features are computed from, against the addresses that the lowered program really touches."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import pytest

from ansor_mini.annotation import sample, uniform_tiles
from ansor_mini.bounds import infer
from ansor_mini.feature_regions import index_stride
from ansor_mini.feature_statements import statements
from ansor_mini.features import Nest
from ansor_mini.schedule import ScheduleError
from ansor_mini.sketch import Program, derive
from ansor_mini.workloads import WORKLOADS
from runtime.expr import Buffer, Expr
from runtime.expr_text import show
from runtime.expr_tree import loads
from runtime.loop_nest import For, If, LoopNest, Stmt, Store, sub_stmts
from tests.strategies.programs import SMALL_MACHINE

# Without padding, whose reads beyond a tensor are skipped in fact but counted.
DAGS = {
    "matmul": lambda: WORKLOADS["matmul"].dag(8, 8, 4),
    "strided convolution": lambda: WORKLOADS["C1D"].dag(17, 4, 8, 3, 2, 0),
    "grouped convolution": lambda: WORKLOADS["GRP"].dag(4, 4, 8, 8, 1, 1, 0),
    "fused with its consumers": lambda: WORKLOADS["ConvLayer"].dag(6, 4, 4, 8, 3, 1, 0),
}

Path = tuple[tuple[For, ...], Store]


def last_store(nest: LoopNest, buffer: str) -> Path | None:
    """The loops around the last store to a buffer, and the store; None if a guard stands around it."""
    found: list[tuple[tuple[For, ...], Store, bool]] = []

    def walk(stmt: Stmt, loops: tuple[For, ...], guarded: bool) -> None:
        if isinstance(stmt, Store) and stmt.buffer.name == buffer:
            found.append((loops, stmt, guarded))
        inner = (*loops, stmt) if isinstance(stmt, For) else loops
        for part in sub_stmts(stmt):
            walk(part, inner, guarded or isinstance(stmt, If))

    walk(nest.body, (), False)
    loops, store, guarded = found[-1]
    return None if guarded else (loops, store)


def addresses(path: Path, outside: int) -> dict[str, set[tuple[int, ...]]]:
    """The elements of each buffer that are touched while the outer loops stand at 0."""
    loops, store = path
    accesses: list[tuple[Buffer, tuple[Expr, ...]]] = [(store.buffer, store.indices)]
    accesses += [(load.buffer, load.indices) for load in loads(store.value)]
    texts = [(buffer.name, compile(f"({''.join(show(i) + ',' for i in at)})", "", "eval")) for buffer, at in accesses]
    found: dict[str, set[tuple[int, ...]]] = {}
    for values in itertools.product(*(range(loop.extent) for loop in loops[outside:])):
        point = {loop.var.name: 0 for loop in loops}
        point |= {loop.var.name: value for loop, value in zip(loops[outside:], values)}
        for name, code in texts:
            found.setdefault(name, set()).add(eval(code, point))
    return found


def unfused_programs(name: str, count: int) -> Iterator[Program]:
    dag = DAGS[name]()
    rng = np.random.default_rng(0)
    for sketch in derive(dag, machine=SMALL_MACHINE):
        for _ in range(count):
            program = sample(sketch, rng, SMALL_MACHINE, tiles=uniform_tiles)
            # one loop as a vector at most: fused loops are one loop in the program
            values = {n: min(v, 1) if n.endswith((".vectorize", ".parallel")) else v for n, v in program.frozen}
            yield sketch.program(values)


@pytest.mark.parametrize("name", DAGS)
def test_regions_are_the_addresses_that_are_touched(name: str):
    compared = 0
    for program in unfused_programs(name, 6):
        try:
            state, lowered = program.schedule(), program.lower()
        except ScheduleError:
            continue
        for statement in statements(state, infer(state)).values():
            nest = Nest.of(statement, set())
            path = last_store(lowered, statement.stage.name.replace(".", "_"))
            if path is None:
                continue
            assert [loop.extent for loop in path[0]] == [loop.extent for loop in nest.loops]
            for level in range(len(nest.loops) + 1):
                touched = addresses(path, level)
                for access, widths in zip(statement.accesses, nest.widths[level]):
                    columns = list(zip(*touched[access.buffer.replace(".", "_")]))
                    assert tuple(max(column) - min(column) + 1 for column in columns) == widths
            compared += 1
    assert compared > 5


def test_strides_are_distances_between_addresses():
    program = next(unfused_programs("strided convolution", 1))
    state, lowered = program.schedule(), program.lower()
    for statement in statements(state, infer(state)).values():
        path = last_store(lowered, statement.stage.name.replace(".", "_"))
        assert path is not None
        nest = Nest.of(statement, set())
        here = addresses(path, len(path[0]))
        for access in statement.accesses:
            (start,) = here[access.buffer.replace(".", "_")]
            for position, loop in enumerate(nest.loops):
                depends, step = index_stride(statement, access, loop.key)
                moved = step_once(path, position)[access.buffer.replace(".", "_")]
                assert depends is (moved != start)
                last = max((n for n in range(len(start)) if moved[n] != start[n]), default=0)
                inner = int(np.prod(access.shape[last + 1 :])) if depends else 0
                assert step == (abs(moved[last] - start[last]) * inner if depends else 0)


def step_once(path: Path, position: int) -> dict[str, tuple[int, ...]]:
    """The element of each buffer after the first step of one loop."""
    loops, store = path
    point = {loop.var.name: int(number == position) for number, loop in enumerate(loops)}
    accesses = [(store.buffer, store.indices), *((load.buffer, load.indices) for load in loads(store.value))]
    return {buffer.name: tuple(eval(show(index), dict(point)) for index in at) for buffer, at in accesses}
