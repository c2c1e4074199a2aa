"""A trace prints for people and for machines."""

from __future__ import annotations

import json

from taso_mini.trace import Step, Trace

STEPS = (Step("a", ("y",), 4e-6, 3e-6), Step("b", ("y", "z"), 3e-6, 3.5e-6), Step("a", ("z",), 3.5e-6, 2e-6))


def test_rules_are_counted_most_frequent_first():
    assert list(Trace(STEPS).rules.items()) == [("a", 2), ("b", 1)]


def test_a_trace_prints_one_line_per_step_and_a_summary():
    lines = str(Trace(STEPS, expanded=5, generated=9, rejected={"too dear": 1, "met before": 3})).splitlines()
    assert len(lines) == 5 and lines[2].split() == ["3.00", "3.50", "b", "y,", "z"]
    assert lines[-1] == "3 rewrites, 4.00 -> 2.00 us; 5 graphs expanded; rejected: 3 met before, 1 too dear"


def test_an_empty_trace_is_a_line():
    assert str(Trace()) == "0 rewrites; 0 graphs expanded"


def test_details_show_what_went_and_what_came():
    step = Step("relu-conv", ("y",), 2e-6, 1e-6, ("y = relu(t)", "t = conv(x, w)"), ("y = conv(x, w)",))
    assert Trace((step,)).details().splitlines() == [
        "relu-conv at y: 2.00 -> 1.00 us",
        "  - y = relu(t)",
        "  - t = conv(x, w)",
        "  + y = conv(x, w)",
    ]


def test_json_has_every_step():
    found = json.loads(json.dumps(Trace(STEPS, expanded=5).to_json()))
    assert [step["rule"] for step in found["steps"]] == ["a", "b", "a"] and found["expanded"] == 5
    assert found["steps"][1]["at"] == ["y", "z"] and round(STEPS[0].gain * 1e6) == 1
