"""Tilings are enumerated once each, and mutations stay among them."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansor_mini.holes import HEIGHTS, LoopExtent, factorizations, rounded_extents, tile_neighbours, tilings


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


@given(st.integers(1, 2000), st.sampled_from((1, 4, 8, 16)), st.integers(2, 4))
def test_every_tiling_covers_its_axis_and_little_more(extent: int, lanes: int, parts: int) -> None:
    rounded = rounded_extents(extent, lanes)
    assert all(whole > extent for whole in rounded) and len(set(rounded)) == len(rounded)
    for lengths in tilings((extent, *rounded), parts):
        outermost = LoopExtent(extent, "x", 0, 1).of({"x": lengths})
        assert (outermost - 1) * math.prod(lengths) < extent <= outermost * math.prod(lengths)


@given(st.integers(5, 2000))
def test_every_axis_has_a_register_tile_of_good_height(extent: int) -> None:
    reachable = {height for height in HEIGHTS for whole in (extent, *rounded_extents(extent, 1)) if whole % height == 0}
    assert len(reachable) >= (2 if extent > 20 else 1)


def test_loop_extents_of_a_tiling() -> None:
    annotation = {"C.i": (4, 2, 16)}
    assert [LoopExtent(512, "C.i", part, part + 1).of(annotation) for part in range(4)] == [4, 4, 2, 16]
    assert LoopExtent(7).of({}) == 7


def test_bad_tilings_are_refused() -> None:
    with pytest.raises(ValueError, match="extent=0"):
        factorizations(0, 2)
