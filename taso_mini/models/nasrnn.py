"""NasRNN as TASO measures it: five steps of the recurrent cell that a search found, one sequence.

Paper: TASO §7. Architecture: Zoph and Le, "Neural Architecture Search with Reinforcement Learning", Figure 8 and
appendix; the cell is that of TASO's published script: 230 operators, eight pairs of matrix products in every step. As
there, every step has weights of its own and the initial state is a weight.
"""

from __future__ import annotations

import numpy as np

from runtime.graph import Graph
from taso_mini.models.layers import Layers, expect_positive

STEPS = 5
# Both products of a pair have half of the variance, so that the gates neither saturate nor stay at zero.
GAIN = 0.5

# The cell as binary operators of activated values: (name, combining operator, two of (activation, value)).
CELL = (
    ("m0", "add", ("relu", "t0"), ("sigmoid", "t3")),
    ("m1", "add", ("sigmoid", "t1"), ("tanh", "t2")),
    ("m2", "mul", ("sigmoid", "t4"), ("tanh", "t5")),
    ("m3", "mul", ("sigmoid", "t6"), ("relu", "t7")),
    ("m4", "add", ("sigmoid", "m1"), ("tanh", "m2")),
    ("m5", "mul", ("tanh", "m0"), ("tanh", "m3")),
    ("m6", "mul", ("tanh", "m4"), ("tanh", "m5")),
)
GATES = 8


def nasrnn(rng: np.random.Generator, *, hidden: int = 512, steps: int = STEPS, batch: int = 1) -> Graph:
    """Build the network with random weights.

    Shapes: x0, x1, ... (batch, hidden), one for each step -> the last state (batch, hidden).
    Raises: ValueError: a size that is not positive.
    """
    expect_positive("nasrnn", hidden=hidden, steps=steps, batch=batch)
    layers = Layers("nasrnn", rng)
    state = layers.random_weight("state", (batch, hidden), 1, GAIN)
    inputs = [layers.input(f"x{step}", (batch, hidden)) for step in range(steps)]
    for step, x in enumerate(inputs):
        state = _step(layers, x, state, f"step{step}")
    return layers.finish(state)


def _step(layers: Layers, x: str, state: str, name: str) -> str:
    """Eight gates of input and state, then the cell."""
    values = {}
    for gate in (f"t{number}" for number in range(GATES)):
        ours = layers.dense(x, f"{name}_{gate}_x", layers.types[x].shape[1], GAIN)
        theirs = layers.dense(state, f"{name}_{gate}_h", layers.types[x].shape[1], GAIN)
        values[gate] = layers.add("add", ours, theirs, name=f"{name}_{gate}")
    for result, operator, *operands in CELL:
        active = [layers.add(act, values[value], name=f"{name}_{result}_{act}_{value}") for act, value in operands]
        values[result] = layers.add(operator, *active, name=f"{name}_{result}")
    value: str = layers.add("tanh", values["m6"], name=f"{name}_state")
    return value
