"""The built-in networks."""

from __future__ import annotations

import numpy as np
import pytest

from taso_mini.models import MODELS


@pytest.mark.parametrize("name", MODELS)
def test_a_model_is_seeded_and_gives_probabilities(name):
    graph = MODELS[name](np.random.default_rng(0))
    assert graph == MODELS[name](np.random.default_rng(0)) != MODELS[name](np.random.default_rng(1))
    rng = np.random.default_rng(1)
    feeds = {value: rng.normal(size=kind.shape).astype(np.float32) for value, kind in graph.inputs.items()}
    (prob,) = graph.evaluate(feeds).values()
    assert prob.sum() == pytest.approx(1.0, rel=1e-5)
    assert 2 / prob.size < prob.max() < 0.99, "neither uniform nor saturated"


def test_squeezenet_has_the_published_size():
    """1.24 million weights (Iandola et al., 4.8 MB) and 0.35 billion multiply-adds."""
    graph = MODELS["squeezenet"](np.random.default_rng(0))
    assert sum(array.size for array in graph.weights.values()) == 1_235_496
    assert graph.flops == pytest.approx(0.7e9, rel=0.02)
    assert sum(node.operator == "conv" for node in graph.nodes) == 26


def test_mobilenet_v2_has_the_published_size():
    """3.4 million weights and 300 million multiply-adds (Sandler et al., Table 4)."""
    graph = MODELS["mobilenet_v2"](np.random.default_rng(0))
    assert sum(array.size for array in graph.weights.values()) == 3_487_816, "3,470,760 and 17,056 folded biases"
    assert graph.flops == pytest.approx(0.6e9, rel=0.05)
    assert sum(node.operator == "conv" for node in graph.nodes) == 52
    assert sum(node.operator == "add" for node in graph.nodes) == 10 + 1, "residuals, and the bias of the classifier"
