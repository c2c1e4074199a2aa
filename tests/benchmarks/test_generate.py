"""The benchmark of the generator runs, small, and has all figures."""

from __future__ import annotations

import argparse
import json

import pytest

from tests.benchmarks import generate


def options(*given: str) -> argparse.Namespace:
    """Parse the benchmark's own options."""
    parser = argparse.ArgumentParser()
    generate.add_arguments(parser)
    return parser.parse_args(given)


def test_a_small_run_has_all_figures(capsys: pytest.CaptureFixture[str]) -> None:
    figures = generate.benchmark(True, options("--operators", "2"))
    assert (figures["graphs"], figures["graph_sets"], figures["funnel"]) == (58175, 5461, [134, 89, 29])
    assert (figures["candidates"], figures["after_renaming"], figures["rules"]) == (126, 81, 29)
    assert figures["cpu_seconds"] >= 0 and figures["peak_gib"] > 0
    json.dumps(figures)
    text = capsys.readouterr().out
    assert "57,947" in text and "initial 134 -> renaming 89" in text


def test_the_work_can_be_shared(capsys: pytest.CaptureFixture[str]) -> None:
    figures = generate.benchmark(True, options("--operators", "2", "--workers", "1", "--surrogates", "sound"))
    assert figures["same_alone"] is True and "the same rules: True" in capsys.readouterr().out
