"""Blocks of rows that pass through all stages behind a tiled one while they are in the cache.

Beyond the paper, whose rule 4 (Table 1) fuses a tiled stage with a consumer that reads it element by element. The
scores of attention have none: softmax first needs the largest of each row, then the sum of its powers. So every stage
stands at the root, and the scores go to memory and come back for each of them. But all stages share the rows: once a
block of rows is computed, everything that follows can be done for that block.

    for i0, j0, ...:                                  for i0 in range(16):
        S[i, j] += A[i, k] * B[k, j]                      S_block = A[8 rows from i0 * 8] @ B
    for i:                                                largest_block = the largest of each of the 8 rows
        largest[i] = the largest of S[i]       ->         powers_block = exp(S_block - largest_block)
    for i, j:                                             total_block = the sum of each of the 8 rows
        powers[i, j] = exp(S[i, j] - largest[i])          for i1 in range(8):
    ...                                                       for j in vectorize(128):
                                                                  softmax[i, j] = powers_block[i1, j] / ...

The rows are the leading axes that the tiled stage and all behind it have in common. The last of these stages follows
the splits of its rows; the tiled stage and those in between are computed in it, at level 1 or 2 of the tiles as in
rule 4.

>>> from ansor_mini.cpu_rules.accumulators import ACCUMULATORS
>>> from ansor_mini.sketch import derive
>>> from ansor_mini.sketch_rules import CPU_RULES
>>> from ansor_mini.workloads import parse_workload
>>> from runtime.machine import detect
>>> dag, machine = parse_workload("TBS:128,12,64"), detect(cores=2, vector_bytes=64, l1_bytes=32768)
>>> for sketch in derive(dag, (ACCUMULATORS, ROW_BLOCKS, *CPU_RULES), machine):
...     print(*sketch.rules)
accumulators-blocks accumulators-blocks row-blocks-1
accumulators-blocks accumulators-blocks row-blocks-2
accumulators-blocks accumulators-blocks tile
accumulators-blocks accumulators-blocks cache-write tile-and-fuse-1
accumulators-blocks accumulators-blocks cache-write tile-and-fuse-2
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from ansor_mini import sketch_hints as hints
from ansor_mini.compute_dag import ComputeDAG
from ansor_mini.dag_analysis import needs_multi_level_tiling
from ansor_mini.open_choices import vector_innermost
from ansor_mini.rule_types import Context, Next, Rule, stage_at, when
from ansor_mini.schedule import ROOT, At, Stage, State
from ansor_mini.sketch import Derivation
from ansor_mini.steps import ComputeAt, FollowSplit, Reorder, Step
from ansor_mini.tiling_rules import fusible_consumer, fusion_levels, needs_tiling, tile
from runtime.expr import ITEM_SIZE, Var


@dataclass(frozen=True)
class Chain:
    """What is computed row by row behind a stage: the last stage, those in between, and how many axes are rows."""

    last: str
    between: tuple[str, ...]
    rows: int


def chain_behind(state: State, name: str) -> Chain | None:
    """The longest chain behind a stage: everything that reads it, or reads what is in the chain, up to the last.

    None where there is no such chain with rows and a reduction.

    >>> from ansor_mini.workloads import parse_workload
    >>> chain_behind(State.initial(parse_workload("TBS:4,3,5")), "scores")
    Chain(last='softmax', between=('largest', 'powers', 'total'), rows=3)
    """
    members, found = [name], None
    for stage in state.stages[state.stages.index(state[name]) + 1 :]:
        if stage.location != ROOT or not any(stage.name in _homes(state, member) for member in members):
            continue
        if not _may_move(state, stage):
            break
        members.append(stage.name)
        if all(_homes(state, member) <= set(members) for member in members[:-1]):
            chain = Chain(stage.name, tuple(members[1:-1]), _shared_rows(state.dag, name, stage.name))
            reduces = any(state.dag[member].reduce_axes for member in members[1:])
            found = chain if reduces and 0 < chain.rows < len(state.dag[name].axes) else found
        if state.dag.is_output(stage.name):
            break
    return found


def _homes(state: State, name: str) -> set[str]:
    """The stages at the root in whose loops a stage is read."""
    homes = set()
    for reader in state.readers(name):
        while isinstance(reader.location, At):
            reader = state[reader.location.stage]
        homes.add(reader.name)
    return homes


def _may_move(state: State, stage: Stage) -> bool:
    """Whether a stage at the root may become a part of a chain: loops of its own would be in the way."""
    plain = not stage.relations and not state.has_parallel(stage)
    return plain and not needs_multi_level_tiling(state.dag, stage.name)


def _shared_rows(dag: ComputeDAG, first: str, last: str) -> int:
    """How many leading axes all stages from the first to the last have in common."""
    rows, reached = len(dag[first].axes), [first]
    for name in reached:
        for consumer in dag.consumers(name) if name != last else ():
            rows = min(rows, _leading_in_place(dag, name, consumer.name))
            reached += [consumer.name] if consumer.name not in reached else []
    return rows


def _leading_in_place(dag: ComputeDAG, producer: str, consumer: str) -> int:
    """How many leading axes of a consumer read the same element of the producer's axis in that position."""
    reads = [load for load in dag[consumer].loads() if load.buffer.name == producer]
    count = 0
    for own, other in zip(dag[consumer].axes, dag[producer].axes):
        if own.extent != other.extent or any(load.indices[count] != Var(own.name) for load in reads):
            break
        count += 1
    return count


def _condition(context: Context, derivation: Derivation, index: int) -> bool:
    stage, state = stage_at(derivation, index), derivation.state
    if not stage.is_untouched or state.dag.is_output(stage.name) or not fusion_levels(context):
        return False
    if not needs_tiling(context, derivation, index) or fusible_consumer(derivation, index) is not None:
        return False
    chain = chain_behind(state, stage.name)
    if chain is None or _keeps_whole(stage, chain.rows):
        return False
    blocks = [state.dag[name] for name in (stage.name, *chain.between)]
    row = sum(ITEM_SIZE[t.dtype] * math.prod(axis.extent for axis in t.axes[chain.rows :]) for t in blocks)
    rows = math.prod(axis.extent for axis in stage.tensor.axes[: chain.rows])
    return rows > 1 and row <= context.cpu.l1_bytes


def _keeps_whole(stage: Stage, rows: int) -> bool:
    """Whether a hint forbids to split a row axis."""
    whole = hints.names(stage.tensor, hints.NO_SPLIT_AT_INNER) + hints.names(stage.tensor, hints.NO_SPLIT_AT_OUTER)
    return any(axis.name in whole for axis in stage.tensor.axes[:rows])


def _apply(context: Context, derivation: Derivation, index: int) -> Next:
    """Tile the stage, and compute it and those in between in blocks of the last stage's rows, once for each level."""
    stage, state = stage_at(derivation, index), derivation.state
    chain = chain_behind(state, stage.name)
    assert chain is not None
    steps, holes = tile(context, stage)
    moved = [state[name] for name in (*chain.between, chain.last)]
    ordered = [step for s in moved if not s.name.endswith(".rf") for step in vector_innermost(s)]
    last = next((step.order for step in ordered if step.stage == chain.last), state[chain.last].names())
    steps += [step for step in ordered if step.stage != chain.last]
    rows = [axis.name for axis in state.dag[chain.last].axes[: chain.rows]]
    results: list[tuple[Derivation, int]] = []
    for level in fusion_levels(context):
        follow = _follow(chain, rows, stage, level, last)
        found = derivation.then(f"row-blocks-{level}", [*steps, *follow], holes)
        followers = (*derivation.followers, (chain.last, stage.name, level))
        results.append((replace(found, followers=followers), index - 1))
    return results


def _follow(chain: Chain, rows: list[str], stage: Stage, level: int, order: tuple[str, ...]) -> list[Step]:
    """The steps that cut the last stage into blocks of rows, and compute the others in them, consumers first."""
    sources = [axis.name for axis in stage.tensor.axes]
    parts = [f"{row}.{part}" for part in range(level + 1) for row in rows]
    rest = [name for name in order if name not in rows]
    block = parts[level * len(rows) - 1]
    return [
        *(FollowSplit(chain.last, row, (stage.name, source), level + 1) for row, source in zip(rows, sources)),
        Reorder(chain.last, (*parts, *rest)),
        *(ComputeAt(name, chain.last, block) for name in (*chain.between[::-1], stage.name)),
    ]


ROW_BLOCKS = Rule("row-blocks", when(_condition), _apply)
