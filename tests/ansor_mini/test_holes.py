"""Tilings are enumerated once each, and mutations stay among them."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansor_mini.holes import LoopExtent, factorizations, tile_neighbours


@given(st.integers(1, 60), st.integers(1, 4), st.sampled_from((4, 16, 64)))
def test_factorizations_are_all_exact_tilings(extent: int, parts: int, innermost: int) -> None:
    by_hand = {
        lengths
        for lengths in itertools.product(range(1, extent + 1), repeat=parts - 1)
        if extent % math.prod(lengths) == 0 and (not lengths or lengths[-1] <= innermost)
    } if extent <= 24 else None  # fmt: skip
    found = factorizations(extent, parts, innermost)
    assert len(set(found)) == len(found)
    assert all(extent % math.prod(lengths) == 0 for lengths in found)
    if by_hand is not None:
        assert set(found) == by_hand


@given(st.integers(1, 512), st.integers(2, 4), st.data())
def test_neighbours_are_legal_and_mutual(extent: int, parts: int, data: st.DataObject) -> None:
    lengths = data.draw(st.sampled_from(factorizations(extent, parts)))
    legal = set(factorizations(extent, parts))
    for other in tile_neighbours((extent,), lengths):
        assert other in legal and other != lengths
        assert lengths in tile_neighbours((extent,), other)


def test_every_tiling_can_be_reached_by_mutation() -> None:
    reached: set[tuple[int, ...]] = {(1, 1)}
    frontier = list(reached)
    while frontier:
        frontier = [n for lengths in frontier for n in tile_neighbours((24,), lengths) if n not in reached]
        reached.update(frontier)
    assert reached == set(factorizations(24, 3))


def test_loop_extents_of_a_tiling() -> None:
    annotation = {"C.i": (4, 2, 16)}
    assert [LoopExtent(512, "C.i", part, part + 1).of(annotation) for part in range(4)] == [4, 4, 2, 16]
    assert LoopExtent(7).of({}) == 7


def test_bad_tilings_are_refused() -> None:
    with pytest.raises(ValueError, match="extent=0"):
        factorizations(0, 2)
