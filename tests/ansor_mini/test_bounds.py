"""Regions are as small as the reads allow, and arrays of split lengths give every program's extents at once."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ansor_mini.bounds import infer
from ansor_mini.compute_dag import ComputeDAG
from ansor_mini.schedule import SplitRelation, State, replay
from ansor_mini.steps import ComputeAt, ComputeInline, FollowSplit, Fuse, Reorder, Split, Step
from ansor_mini.tensor_expression import compute, placeholder, reduce_axis, reduce_sum
from runtime.expr import maximum, select


def convolution(size: int = 16, kernel: int = 3, stride: int = 1, channels: int = 8) -> ComputeDAG:
    """Padding, a convolution along one axis, bias and relu, channels last."""
    padding = kernel // 2
    x, w = placeholder((size, channels), "X"), placeholder((kernel, channels, 2 * channels), "W")
    bias = placeholder((2 * channels,), "bias")
    wide = size + 2 * padding
    pad = compute(
        (wide, channels),
        lambda h, c: select((h >= padding) & (h < size + padding), x[h - padding, c], 0.0),
        "pad",
    )
    kh, ci = reduce_axis(kernel, "kh"), reduce_axis(channels, "ci")
    out = ((wide - kernel) // stride + 1, 2 * channels)
    conv = compute(out, lambda h, c: reduce_sum(pad[h * stride + kh, ci] * w[kh, ci, c], (kh, ci)), "conv")
    add = compute(out, lambda h, c: conv[h, c] + bias[c], "add")
    return ComputeDAG([compute(out, lambda h, c: maximum(add[h, c], 0.0), "relu")])


def tiled(h: tuple[int, ...], c: tuple[int, ...], ci: int) -> list[Step]:
    """The multi-level structure SSRSRS, fused at the second level."""
    return [
        ComputeInline("add"),
        Split("conv", "h", h), Split("conv", "c", c), Split("conv", "kh", (1,)), Split("conv", "ci", (ci,)),
        Reorder("conv", ("h.0", "c.0", "h.1", "c.1", "kh.0", "ci.0", "h.2", "c.2", "kh.1", "ci.1", "h.3", "c.3")),
        FollowSplit("relu", "h", ("conv", "h"), 3), FollowSplit("relu", "c", ("conv", "c"), 3),
        Reorder("relu", ("h.0", "c.0", "h.1", "c.1", "h.2", "c.2")),
        ComputeAt("conv", "relu", "c.1"),
    ]  # fmt: skip


def region(state: State, stage: str) -> tuple[int, ...]:
    return tuple(span.extent for span in infer(state)[stage].region.values())


def test_tile_of_a_fused_stage_is_what_one_iteration_reads():
    state = replay(convolution(), tiled((2, 1, 4), (1, 2, 4), 4))
    assert region(state, "conv") == (4, 8)
    extents = infer(state)["conv"].extents
    assert [extents[f"h.{part}"] for part in range(4)] == [1, 1, 1, 4]
    assert [extents[f"c.{part}"] for part in range(4)] == [1, 1, 2, 4]


def test_halo_of_a_window_is_counted_once():
    for stride, rows in ((1, 4), (2, 7)):
        state = replay(convolution(stride=stride), tiled((2, 1, 4), (1, 2, 4), 4))
        # inside kh.0 one tap remains, outside of it three
        assert region(ComputeAt("pad", "conv", "ci.0").apply(state), "pad") == (rows, 4)
        assert region(ComputeAt("pad", "relu", "c.1").apply(state), "pad") == (rows + 2, 8)


def test_fused_outer_loops_still_give_single_tiles():
    state = replay(convolution(), [*tiled((2, 1, 4), (1, 2, 4), 4), Fuse("relu", ("h.0", "c.0", "h.1", "c.1"))])
    assert region(state, "conv") == (4, 8)


def test_region_never_exceeds_the_tensor():
    state = replay(convolution(5), tiled((8, 8, 8), (2, 2, 8), 4))
    assert region(ComputeAt("pad", "relu", "h.0").apply(state), "pad") == (7, 8)


def test_arrays_of_lengths_give_the_extents_of_every_program():
    rng = np.random.default_rng(0)

    def lengths() -> tuple[int, ...]:
        return tuple(int(length) for length in rng.choice([1, 2, 4], 3))

    programs = [(lengths(), lengths(), int(rng.choice([1, 2, 4]))) for _ in range(50)]
    states = [ComputeAt("pad", "conv", "ci.0").apply(replay(convolution(), tiled(*program))) for program in programs]
    together = infer(stack(states))
    for number, state in enumerate(states):
        for name, bounds in infer(state).items():
            for iterator, extent in bounds.extents.items():
                assert np.broadcast_to(together[name].extents[iterator], 50)[number] == extent


def stack(states: list[State]) -> State:
    """One state whose split lengths are arrays over those of many states of one structure."""
    stages = []
    for position, stage in enumerate(states[0].stages):
        relations = []
        for index, relation in enumerate(stage.relations):
            if isinstance(relation, SplitRelation):
                lengths = zip(*(state.stages[position].relations[index].lengths for state in states))
                relation = replace(relation, lengths=tuple(np.array(length) for length in lengths))
            relations.append(relation)
        stages.append(replace(stage, relations=tuple(relations)))
    return State(states[0].dag, tuple(stages))
