"""The clock inside a network: every step in its order, and the same results."""

from __future__ import annotations

import json

import numpy as np
import pytest

from runtime.__main__ import main
from runtime.executor import build
from runtime.graph import TensorType
from runtime.network import KernelCall, Network
from tests.strategies.networks import elementwise

pytestmark = pytest.mark.cc
SHAPE = (40, 500)
KIND = TensorType(SHAPE)


def network() -> Network:
    """h = x + 1; y = h + 2 x + 1, and z is another name for it, in memory of its own."""
    calls = (
        KernelCall(elementwise("one", SHAPE, 1, 1, False), ("x",), ("h",)),
        KernelCall(elementwise("more", SHAPE, 2, 1, False), ("h", "x"), ("y",)),
    )
    return Network(
        "clocked", {"x": KIND}, {"y": KIND, "z": KIND}, {}, dict.fromkeys("hyz", KIND), calls, aliases={"z": "y"}
    )


def test_every_step_has_its_time_and_the_results_stay() -> None:
    compiled = build(network())
    laps = compiled.profile(rounds=3)
    assert [lap.kernel for lap in laps] == ["one", "more", "copy"]
    assert laps[0].text.endswith(" from x") and laps[1].text.endswith(" from h, x") and laps[2].text == "z is y"
    assert all(lap.seconds > 0 for lap in laps)
    x = np.random.default_rng(0).integers(-9, 10, SHAPE).astype(np.float32)
    bound = compiled.bind({"x": x})
    assert (bound.step_seconds(compiled._clocked, len(laps)) > 0).all()
    assert (bound.outputs["y"] == 3 * x + 2).all() and (bound.outputs["z"] == 3 * x + 2).all()


def test_the_command_prints_the_longest_first(tmp_path, capsys) -> None:
    build(network(), tmp_path / "net")
    np.save(tmp_path / "x.npy", np.ones(SHAPE, np.float32))
    arguments = ["run", str(tmp_path / "net"), "--input", str(tmp_path / "x.npy"), "--profile"]
    assert main([*arguments, "--json"]) == 0
    steps = json.loads(capsys.readouterr().out)["steps"]
    times = [milliseconds for *_, milliseconds in steps]
    assert times == sorted(times, reverse=True) and {kernel for kernel, *_ in steps} == {"one", "more", "copy"}
    assert main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()[2:]
    assert len(lines) == 3 and all(" ms " in line and "%  " in line for line in lines)
