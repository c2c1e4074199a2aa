"""Arithmetic over symbols gives what NumPy gives, within the interval that the symbol promises."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansor_mini.feature_symbols import Symbol, where
from ansor_mini.feature_tape import Tape
from ansor_mini.regions import maximum, minimum

INPUTS = {"a": np.array([1.0, 2.0, 3.0, 5.0, 8.0]), "b": np.array([4.0, 1.0, 3.0, 2.0, 2.0])}
NUMBERS = (operator.add, operator.sub, operator.mul, minimum, maximum)
COMPARISONS = (operator.lt, operator.le, operator.gt, operator.ge, operator.eq, operator.ne)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Tape, list[tuple[Any, Any]]]:
    """A tape, and numbers written down on it next to what they are."""
    tape = Tape()
    found: list[tuple[Any, Any]] = [(tape.input(name, x.min(), x.max()), x) for name, x in INPUTS.items()]
    found += [(number, number) for number in (0, 1, 3)]
    flags: list[tuple[Any, Any]] = [(True, True), (False, False)]
    for _ in range(draw(st.integers(1, 12))):
        (x, p), (y, q) = draw(st.sampled_from(found)), draw(st.sampled_from(found))
        kind = draw(st.sampled_from(("number", "number", "floor", "compare", "logic", "where", "where")))
        if kind == "number":
            function = draw(st.sampled_from(NUMBERS))
            found.append((function(x, y), function(p, q)))
        elif kind == "floor":
            divisor = draw(st.integers(1, 4))
            found += [(x // divisor, p // divisor), (x % divisor, p % divisor)]
        elif kind == "compare":
            function = draw(st.sampled_from(COMPARISONS))
            flags.append((function(x, y), function(p, q)))
        elif kind == "logic":
            (f, r), (g, s) = draw(st.sampled_from(flags)), draw(st.sampled_from(flags))
            flags += [(f & g, r & s), (f | g, r | s)]
        else:
            f, r = draw(st.sampled_from(flags))
            found.append((where(f, x, y), np.where(r, p, q)))
    return tape, found + flags


@settings(max_examples=200, deadline=None)
@given(pairs())
def test_a_tape_computes_what_numpy_computes(case: tuple[Tape, list[tuple[Any, Any]]]):
    tape, found = case
    results = tape.compile([symbol for symbol, _ in found]).run(INPUTS)
    for (symbol, expected), result in zip(found, results):
        assert np.array_equal(np.broadcast_to(result, 5), np.broadcast_to(expected, 5))
        if isinstance(symbol, Symbol):
            assert symbol.low <= np.min(expected) and np.max(expected) <= symbol.high


def test_equal_operations_are_written_down_once():
    tape = Tape()
    a, b = tape.input("a", 1, 8), tape.input("b", 1, 8)
    assert (a + b) * 2 is (b + a) * 2
    assert len(tape.compile([a * b, b * a, a * b + 1]).instructions) == 2


def test_a_symbol_has_no_truth():
    tape = Tape()
    with pytest.raises(TypeError, match="use where"):
        bool(tape.input("a", 1, 8) > 2)
