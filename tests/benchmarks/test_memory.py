"""The memory plans of whole networks meet the lower bound nearly."""

from __future__ import annotations

import pytest

from taso_mini.models import MODELS
from tests.benchmarks.memory import LIMIT, planned, processes


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name == "bert" else pytest.mark.slow) for name in sorted(MODELS)]
)
def test_plans_of_the_built_in_networks_are_within_the_limit(name: str) -> None:
    memory = planned(name)
    assert memory.live_lower_bound <= memory.total_bytes <= LIMIT * memory.live_lower_bound
    assert memory.total_bytes < memory.sum_bytes
    assert f"{memory.total_bytes} bytes" in str(memory)


@pytest.mark.cc
@pytest.mark.slow
def test_processes_hold_weights_and_workspace() -> None:
    found = processes("squeezenet")
    assert set(found) == {"ours", "onnxruntime"}
    for moments in found.values():
        assert 5_000_000 < moments["after"] <= moments["peak"]
