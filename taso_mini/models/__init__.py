"""Networks built in Python, with seeded random weights: `MODELS[name](rng)` gives a Graph."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from runtime.graph import Graph
from taso_mini.models.mobilenet_v2 import mobilenet_v2
from taso_mini.models.squeezenet import squeezenet

MODELS: dict[str, Callable[[np.random.Generator], Graph]] = {
    "squeezenet": squeezenet,
    "mobilenet_v2": mobilenet_v2,
}
