"""A few nests as a whole: tiles are indexed by their own loops, guards stand as far out as they can."""

from __future__ import annotations

from ansor_mini.lowering import lower
from ansor_mini.schedule import replay
from ansor_mini.schedule_examples import matmul
from ansor_mini.steps import (
    AutoUnroll,
    CacheWrite,
    ComputeAt,
    ComputeInline,
    FollowSplit,
    Fuse,
    FuseParallel,
    FuseVectorize,
    Parallel,
    Reorder,
    Rfactor,
    Split,
)
from runtime.verify_nest import verify
from tests.ansor_mini.test_bounds import convolution

TILED_MATMUL = """\
def kernel(A: float32[32, 16], B: float32[16, 32]) -> (C: float32[32, 32]):
    for i0_j0 in parallel(16):
        for j1 in range(2):
            with local(float32[8, 4]) as C_local:
                for i3 in unroll(8):
                    for j3 in vectorize(4):
                        C_local[i3, j3] = 0.0
                for k0 in range(4):
                    for k1 in unroll(4):
                        for i3 in unroll(8):
                            for j3 in vectorize(4):
                                C_local[i3, j3] = C_local[i3, j3] + A[i0_j0 // 4 * 8 + i3, k0 * 4 + k1] * B[k0 * 4 + k1, i0_j0 % 4 * 8 + j1 * 4 + j3]
                for i2 in range(8):
                    for j2 in vectorize(4):
                        C[i0_j0 // 4 * 8 + i2, i0_j0 % 4 * 8 + j1 * 4 + j2] = C_local[i2, j2]"""  # noqa: E501

SKIPPED_PADDING = """\
def kernel(X: float32[16, 8], W: float32[3, 8, 16], bias: float32[16]) -> (relu: float32[16, 16]):
    for h0 in range(4):
        with local(float32[4, 16]) as conv:
            for h in range(4):
                for c in range(16):
                    conv[h, c] = 0.0
            for kh in range(3):
                for ci in range(8):
                    for h in range(4):
                        if h0 * 4 + h + kh >= 1 and h0 * 4 + h + kh < 17:
                            for c in range(16):
                                conv[h, c] = conv[h, c] + X[h0 * 4 + h + kh - 1, ci] * W[kh, ci, c]
            for h1 in range(4):
                for c in range(16):
                    relu[h0 * 4 + h1, c] = max(conv[h1, c] + bias[c], 0.0)"""

PARTIAL_SUMS = """\
def kernel(A: float32[2, 10], B: float32[10, 3]) -> (C: float32[2, 3]):
    with workspace(float32[2, 3, 4]) as C_rf:
        for i in range(2):
            for j in range(3):
                for k1 in range(4):
                    C_rf[i, j, k1] = 0.0
                    for k0 in range(3):
                        if k0 * 4 + k1 < 10:
                            C_rf[i, j, k1] = C_rf[i, j, k1] + A[i, k0 * 4 + k1] * B[k0 * 4 + k1, j]
        for i in range(2):
            for j in range(3):
                C[i, j] = 0.0
                for k1 in range(4):
                    C[i, j] = C[i, j] + C_rf[i, j, k1]"""


def test_register_tile_of_a_matmul():
    steps = [
        CacheWrite("C"),
        Split("C.local", "i", (1, 1, 8)), Split("C.local", "j", (2, 1, 4)), Split("C.local", "k", (4,)),
        Reorder("C.local", ("i.0", "j.0", "i.1", "j.1", "k.0", "i.2", "j.2", "k.1", "i.3", "j.3")),
        FollowSplit("C", "i", ("C.local", "i"), 3), FollowSplit("C", "j", ("C.local", "j"), 3),
        Reorder("C", ("i.0", "j.0", "i.1", "j.1", "i.2", "j.2")),
        ComputeAt("C.local", "C", "j.1"), AutoUnroll("C.local", 32),
        FuseParallel("C", 2), FuseVectorize("C", 1), FuseVectorize("C.local", 1),
    ]  # fmt: skip
    assert str(lower(replay(matmul(32, 32, 16), steps))) == TILED_MATMUL


def test_padding_that_is_inlined_becomes_a_skipped_tap():
    steps = [
        ComputeInline("pad"), ComputeInline("add"), Split("relu", "h", (4,)), ComputeAt("conv", "relu", "h.0"),
        Reorder("conv", ("kh", "ci", "h", "c")),
    ]  # fmt: skip
    assert str(lower(replay(convolution(), steps))) == SKIPPED_PADDING


def test_partial_sums_beyond_the_reduction_are_skipped():
    steps = [Split("C", "k", (4,)), Rfactor("C", "k.1", 2)]
    assert str(lower(replay(matmul(2, 3, 10), steps))) == PARTIAL_SUMS


def test_contiguous_vectors_of_a_fused_copy_stay_contiguous():
    steps = [Fuse("T", ("p", "q")), Split("T", "p@q", (8,)), FuseVectorize("T", 1)]
    text = str(lower(replay(matmul(4, 16, 8, transposed=True), steps)))
    assert "T[p_q0 // 2, p_q0 % 2 * 8 + p_q1] = B[p_q0 % 2 * 8 + p_q1, p_q0 // 2]" in text


def test_tile_that_parallel_iterations_share_is_workspace():
    steps = [ComputeAt("C", "D", "i"), Parallel("D", "j")]
    nest = lower(replay(matmul(4, 6, 3, relu=True), steps))
    verify(nest)
    assert "with workspace(float32[1, 6]) as C:" in str(nest)
