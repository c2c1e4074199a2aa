"""Cost models by name or from a file, for the commands that search or explain.

Paper: Ansor §5.2
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from ansor_mini.cost_model import CostModel, RandomModel, TrivialModel
from ansor_mini.guided_model import GuidedModel
from ansor_mini.learned_model import PRECISE, LearnedModel
from runtime.machine import Machine, detect

Maker = Callable[[np.random.Generator, Machine, int], CostModel]
MODELS: dict[str, Maker] = {
    "guided": lambda rng, machine, threads: GuidedModel(rng, TrivialModel(machine, threads), machine=machine),
    "learned": lambda rng, machine, threads: LearnedModel(rng, machine=machine),
    "precise": lambda rng, machine, threads: LearnedModel(rng, machine=machine, **PRECISE),
    "simple": lambda rng, machine, threads: TrivialModel(machine, threads),
    "random": lambda rng, machine, threads: RandomModel(rng),
}


def named_model(name: str, rng: np.random.Generator, threads: int) -> CostModel:
    """The model of a name in `MODELS`, or the one in a file.  Raises: ValueError: neither."""
    if name in MODELS:
        return MODELS[name](rng, detect(), threads)
    if not Path(name).is_file():
        raise ValueError(f"--model must be one of {', '.join(MODELS)} or a file that `train` has written, got {name!r}")
    return LearnedModel(rng, machine=detect()).restore(name)
