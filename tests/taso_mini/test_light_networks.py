"""Real networks through the whole pipeline: substitutions, default schedules, compiled C."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from skimage import data, transform

from runtime.graph import Graph, GraphBuilder
from runtime.random_weights import randomize_onnx
from taso_mini.compile_model import compile_model
from taso_mini.compile_options import CompileOptions
from tests.runtime.light_models import BUT_VGG, NAMES, dummy_input, expected_output, model_path
from tests.runtime.onnx_models import nsfw_path
from tests.runtime.test_light_models import show_logits

pytestmark = pytest.mark.cc
UNTUNED = {"trials": 0, "cost": "flops", "compare": False, "threads": 2}


@pytest.mark.slow
@pytest.mark.parametrize("name", BUT_VGG)  # which is compared with random weights
def test_a_light_network_gives_its_shipped_output(name: str, tmp_path: Path) -> None:
    compiled = compile_model(model_path(name), CompileOptions(out=tmp_path / "out", **UNTUNED))
    network = compiled.network
    (output,) = network.run(**{name: dummy_input(kind) for name, kind in network.inputs.items()}).values()
    np.testing.assert_allclose(output, expected_output(name), rtol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_light_network_with_random_weights_agrees_with_onnx_runtime(name: str, tmp_path: Path) -> None:
    path = tmp_path / "random.onnx"
    randomize_onnx(model_path(name), path, np.random.default_rng(0))
    show_logits(path)
    network = compile_model(path, CompileOptions(out=tmp_path / "out", **UNTUNED)).network
    rng = np.random.default_rng(1)
    feeds = {name: rng.normal(0.0, 1.0, kind.shape).astype(np.float32) for name, kind in network.inputs.items()}
    expected = onnxruntime.InferenceSession(path).run(list(network.outputs), feeds)
    for output, wanted in zip(network.run(**feeds).values(), expected, strict=True):
        np.testing.assert_allclose(output, wanted, rtol=1e-3, atol=1e-3 * abs(wanted).max())


def photograph() -> np.ndarray:
    """A photograph as the classifier wants it: 224 x 224, BGR, mean colour subtracted, one image."""
    image = transform.resize(data.astronaut(), (224, 224), anti_aliasing=True) * 255.0
    return (image[..., ::-1] - np.array([104.0, 117.0, 123.0])).astype(np.float32)[None]


@pytest.mark.slow
def test_a_photograph_keeps_its_probabilities() -> None:
    """As imported, after substitutions, and after tuning."""
    shapes = {"input:0": (1, 224, 224, 3)}
    session = onnxruntime.InferenceSession(nsfw_path())
    x = photograph()
    (expected,) = session.run(None, {"input:0": x})
    assert expected.shape == (1, 2) and abs(expected.sum() - 1) < 1e-5
    tuned = {**UNTUNED, "trials": 24}
    for options in (UNTUNED, tuned):
        network = compile_model(nsfw_path(), CompileOptions(shapes=shapes, **options)).network
        (found,) = network.run(**{"input:0": x}).values()
        np.testing.assert_allclose(found, expected, atol=1e-4)


def residual_network() -> Graph:
    """A normalised convolution, then a block whose two branches read one tensor."""
    rng = np.random.default_rng(0)
    build = GraphBuilder("residual")

    def conv(x: str, filters: int, size: int) -> str:
        w = rng.normal(0.0, 0.2, (filters, build.types[x].shape[1], size, size)).astype(np.float32)
        return build.add("conv", x, build.weight(build.fresh("w"), w), padding=(size // 2,) * 4)

    def per_channel(x: str, operator: str) -> str:
        values = rng.uniform(0.5, 1.5, (1, build.types[x].shape[1], 1, 1)).astype(np.float32)
        return build.add(operator, x, build.weight(build.fresh("p"), values))

    x = per_channel(per_channel(conv(build.input("x", (1, 8, 12, 12)), 16, 3), "mul"), "add")
    x = build.add("relu", x)
    left = conv(build.add("relu", conv(x, 16, 1)), 32, 3)
    return build.finish(build.add("relu", build.add("add", left, conv(x, 32, 1)), name="y"))


def test_normalisation_and_activation_go_into_the_convolutions() -> None:
    compiled = compile_model(residual_network(), CompileOptions(**UNTUNED))
    assert compiled.max_relative_error < 1e-5
    assert compiled.substitution.cost_after < compiled.substitution.cost_before
    operators = [node.operator for node in compiled.substitution.graph.nodes]
    assert "mul" not in operators, compiled.substitution.trace
    assert operators.count("relu") < 3, compiled.substitution.trace
