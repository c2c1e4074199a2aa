"""Interleaved timing: every program has its turns, slow ones fewer."""

from __future__ import annotations

from runtime import timing


def test_every_program_runs_in_turn() -> None:
    order: list[str] = []
    programs = {name: lambda name=name: order.append(name) for name in "ab"}
    seconds = timing.interleaved(programs, rounds=4, min_seconds=0)
    assert set(seconds) == {"a", "b"} and all(value >= 0 for value in seconds.values())
    # Two calls to find out how long one takes, then four rounds of a warm-up and a timed call.
    assert order == ["a"] * 2 + ["b"] * 2 + ["a", "a", "b", "b", "b", "b", "a", "a"] * 2


def test_a_slow_program_stops_after_a_few_rounds(monkeypatch) -> None:
    monkeypatch.setattr(timing, "SLOW_SECONDS", 0.0)
    calls: list[int] = []
    timing.interleaved({"slow": lambda: calls.append(1)}, rounds=9, min_seconds=0)
    assert len(calls) == 2 + 2 * timing.SLOW_ROUNDS
