"""The GPU model counts what a warp asks for as the hardware's rules say, and orders programs as they were published."""

from __future__ import annotations

import math

import pytest

from runtime.gpu import gpu
from runtime.gpu_model import predict, refusal
from runtime.gpu_model.occupancy import infeasible, resident_blocks
from runtime.gpu_model.prediction import norm
from runtime.gpu_model.registers import registers
from runtime.gpu_model.requests import warp_requests
from runtime.gpu_model.sites import Site, kernels
from runtime.gpu_model.tensor_cores import fragment_requests, is_asynchronous, multiplies, multiply_adds
from runtime.loop_nest import LoopNest
from runtime.loop_nest_text import parse
from tests.benchmarks import sgemm_ladder
from tests.benchmarks.gpu_model import mean_factor, published, spearman

H100 = gpu("h100")


def _copy(index: str, threads: int = 32, blocks: int = 1, extent: int = 1 << 16) -> LoopNest:
    return parse(
        f"def copy(A: float32[{extent}]) -> (C: float32[{threads * blocks}]):\n"
        f"  for b in block({blocks}):\n    for t in thread({threads}):\n      C[b * {threads} + t] = A[{index}]"
    )


def _load(nest: LoopNest) -> tuple[Site, float, float]:
    """The site of a nest's last store, and cycles and sector bytes of its load of A or S."""
    site = next(kernels(nest)).sites[-1]
    load = site.store.value
    requests = warp_requests(site, load.buffer, load.indices)  # type: ignore[attr-defined]
    return site, requests.cycles, requests.sector_bytes


@pytest.mark.parametrize(
    ("index", "cycles", "sector_bytes"),
    [
        ("t", 1, 128),  # coalesced: one line
        ("0", 1, 32),  # all lanes read one number
        ("t * 2", 2, 256),
        ("t * 32", 32, 1024),  # every lane another line
        ("t // 16 * 1024 + t % 16", 2, 128),  # two half lines
    ],
)
def test_a_warps_loads_of_global_memory(index: str, cycles: float, sector_bytes: float) -> None:
    assert _load(_copy(index))[1:] == (cycles, sector_bytes)


@pytest.mark.parametrize(
    ("index", "cycles"),
    [("t", 1), ("t * 2", 2), ("t * 32", 32), ("t * 33", 1), ("0", 1), ("t // 2", 1), ("t * 16", 16)],
)
def test_bank_conflicts_of_shared_memory(index: str, cycles: float) -> None:
    nest = parse(
        "def f(A: float32[2048]) -> (C: float32[32]):\n  for b in block(1):\n    with shared(float32[2048]) as S:\n"
        "      for t in thread(32):\n        for x in range(64):\n          for u in thread(32):\n"
        f"            S[x * 32 + u] = A[x * 32 + u]\n        C[t] = S[{index}]"
    )
    assert _load(nest)[1] == cycles


def test_contiguous_loads_of_one_thread_are_one_request_where_they_may_be() -> None:
    text = (
        "def f(A: float32[128]) -> (C: float32[128]):\n  for t in thread(32):\n    for w in {}(4):\n"
        "      C[t * 4 + w] = A[t * 4 + w]"
    )
    for kind, count in (("vectorize", 1), ("unroll", 4)):
        site = next(kernels(parse(text.format(kind)))).sites[0]
        found = warp_requests(site, site.store.buffer, site.store.indices)
        assert found.count == count
        assert found.sector_bytes == 512 * (1 if kind == "vectorize" else 4)


def test_an_inner_thread_loop_is_the_same_threads() -> None:
    site = next(kernels(sgemm_ladder.shared_tile(64))).sites[1]
    assert site.store.buffer.name == "As"
    assert site.thread is not None and site.thread.var.name == "u"
    assert site.repeats == 2  # the tiles, not the outer threads


def test_virtual_threads_share_copies_and_have_accumulators_of_their_own() -> None:
    nest = parse(
        "def f(A: float32[64]) -> (C: float32[64]):\n  for b in block(1):\n    for v in vthread(2):\n"
        "      for t in thread(32):\n        with local(float32[4]) as acc:\n"
        "          with shared(float32[64]) as S:\n            for x in range(2):\n              for u in thread(32):\n"
        "                S[x * 32 + u] = A[x * 32 + u]\n            acc[0] = S[v * 32 + t]\n"
        "            C[v * 32 + t] = acc[0]"
    )
    kernel = next(kernels(nest))
    copy, load, _ = kernel.sites
    assert (copy.virtual, len(load.virtual)) == ((), 1)
    assert kernel.shared_bytes == 256
    assert dict((buffer.name, copies) for buffer, copies in kernel.allocated) == {"acc": 2, "S": 1}


def test_what_does_not_change_in_a_loop_is_loaded_before_it() -> None:
    text = (
        "def f(A: float32[64]) -> (C: float32[32, 256]):\n  for t in thread(32):\n    for k in range(256):\n"
        "      C[t, k] = A[{}]"
    )
    still, moving = (predict(parse(text.format(index)), H100) for index in ("t", "t * k % 64"))
    assert still.limits["load/store"] < moving.limits["load/store"]


@pytest.mark.parametrize(
    ("kernel", "blocks"),
    [((1024, 32, 0), 2), ((1024, 33, 0), 1), ((256, 128, 49152), 2), ((32, 16, 0), 32), ((512, 255, 0), 0)],
)
def test_occupancy_by_nvidias_rules(kernel: tuple[int, int, int], blocks: int) -> None:
    assert resident_blocks(H100, *kernel) == blocks


def test_what_cannot_be_launched_is_refused_with_a_reason() -> None:
    many = _copy("t", threads=2048)
    assert refusal(many, H100) == predict(many, H100).reason == "more than 1024 threads a block"
    assert predict(many, H100).seconds == math.inf
    big = parse(
        "def f(A: float32[32]) -> (C: float32[32]):\n  for b in block(1):\n    with shared(float32[16384]) as S:\n"
        "      for t in thread(32):\n        S[t] = A[t]\n        C[t] = S[t]"
    )
    assert refusal(big, H100) == "more than 49152 bytes of shared memory a block"
    assert refusal(_copy("t"), H100) == ""


def test_a_copy_is_bound_by_memory_and_near_its_bandwidth() -> None:
    found = predict(_copy("b * 256 + t", threads=256, blocks=1 << 18, extent=1 << 26), H100)
    assert found.limit == "memory"
    share = 2 * 4 * 2**26 / found.seconds / H100.memory_bytes_per_second
    assert 0.6 < share <= 1.0


def test_reported_registers_change_the_occupancy() -> None:
    nest = _copy("b * 256 + t", threads=256, blocks=1 << 12, extent=1 << 20)
    assert predict(nest, H100, [32]).occupancy == 1.0
    assert predict(nest, H100, [128]).occupancy == 0.25


def test_registers_follow_the_tile() -> None:
    small, large = (next(kernels(sgemm_ladder.register_tile(height=h, width=8))) for h in (4, 8))
    assert registers(small) + 32 <= registers(large) < 255


def test_more_blocks_never_take_less_time() -> None:
    times = [predict(_copy("b * 256 + t", 256, blocks, 1 << 20), H100).seconds for blocks in (1, 64, 512, 4096)]
    assert times == sorted(times)


@pytest.mark.parametrize(("name", "worst"), [("h100", 1.3), ("a6000", 1.6)])
def test_the_published_ladder_is_in_order(name: str, worst: float) -> None:
    rates = published(name)
    found = [2.0 * 4096**3 / predict(make(), gpu(name)).seconds / 1e12 for make in sgemm_ladder.LADDER.values()]
    assert spearman(found, list(rates.values())) == 1.0
    assert mean_factor(found, list(rates.values())) < worst


def test_the_norm_lies_between_the_largest_and_the_sum() -> None:
    limits = [1.0, 2.0, 3.0]
    assert 3.0 < norm(limits, 2.0) < 6.0
    assert norm(limits, 1.0) == pytest.approx(6.0)
    assert norm(limits, math.inf) == 3.0
    assert norm([], 2.0) == 0.0


def test_tensor_loops_are_instructions_of_a_warp() -> None:
    nest = parse(
        "def f(A: float16[64, 16], B: float16[16, 64]) -> (C: float32[64, 64]):\n  for b in block(1):\n"
        "    with shared(float16[2, 64, 16]) as S:\n      with shared(float16[2, 16, 64]) as T:\n"
        "        for w in warp(4):\n          with fragment(float32[4, 16, 16]) as sums:\n"
        "            for j in unroll(4):\n              for x in tensor(16):\n                for y in tensor(16):\n"
        "                  sums[j, x, y] = 0.0\n            for k in range(2):\n              for t in thread(128):\n"
        "                for v in vectorize(8):\n                  S[k % 2, t // 2, t % 2 * 8 + v] = "
        "A[t // 2, t % 2 * 8 + v]\n              for u in thread(128):\n                for v in vectorize(8):\n"
        "                  T[k % 2, u // 8, u % 8 * 8 + v] = B[u // 8, u % 8 * 8 + v]\n"
        "              for j in unroll(4):\n                for x in tensor(16):\n"
        "                  for y in tensor(16):\n"
        "                    for z in tensor(16):\n                      sums[j, x, y] = sums[j, x, y] + "
        "cast(float32, S[k % 2, w * 16 + x, z]) * cast(float32, T[k % 2, z, j * 16 + y])"
    )
    kernel = next(kernels(nest))
    start, copy, _, product = kernel.sites
    assert (kernel.threads, start.threads, product.threads) == (128, 128, 128)
    assert is_asynchronous(copy) and not is_asynchronous(product)
    assert multiplies(product) and not multiplies(start)
    assert multiply_adds(product) == 16**3
    load = product.store.value.b.a.value  # type: ignore[attr-defined]
    assert fragment_requests(product, load.buffer, load.indices).cycles == 16 * 16 * 2 / 128
    assert registers(kernel) >= 4 * 16 * 16 // 32
    assert "tensor" in predict(nest, H100).limits


def test_tensor_cores_may_ask_for_more_shared_memory_at_the_launch() -> None:
    assert infeasible(H100, 128, 64, 100_000) and not infeasible(H100, 128, 64, 100_000, dynamic=True)
    assert infeasible(H100, 128, 64, 300_000, dynamic=True)
