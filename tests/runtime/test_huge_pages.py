"""Asking for huge pages changes no contents, whatever the system answers."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from runtime.huge_pages import PAGE, ask_for_huge_pages


@pytest.mark.parametrize("nbytes", [0, 1, PAGE - 1, PAGE, 3 * PAGE + 5, 8 * PAGE])
def test_contents_stay(nbytes):
    array = np.random.default_rng(0).integers(0, 255, nbytes, dtype=np.uint8)
    before = array.copy()
    ask_for_huge_pages(array)
    np.testing.assert_array_equal(array, before)


def test_an_array_without_a_whole_page_asks_for_nothing():
    assert not ask_for_huge_pages(np.ones(PAGE // 2, np.uint8))


def test_elsewhere_nothing_is_asked_for(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not ask_for_huge_pages(np.ones(4 * PAGE, np.uint8))
