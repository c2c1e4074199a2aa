"""The nine networks of the onnx package, against their shipped outputs and against ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from runtime.graph import Graph
from runtime.graph_text import parse_graph
from runtime.layout import to_channels_last
from runtime.onnx_import import import_onnx
from runtime.random_weights import randomize_onnx
from tests.runtime.light_models import BUT_VGG, NAMES, dummy_input, expected_output, model_path


def ramp(graph: Graph) -> dict[str, np.ndarray]:
    return {name: dummy_input(kind) for name, kind in graph.inputs.items()}


@pytest.mark.parametrize("name", NAMES)
def test_light_model_gives_its_shipped_output(name):
    graph = import_onnx(model_path(name))
    (output,) = graph.evaluate(ramp(graph)).values()
    np.testing.assert_allclose(output, expected_output(name), rtol=1e-5)


def show_logits(path: Path) -> None:
    """Make what a final Softmax reads an output too: the softmax of large random logits is 1 once and 0 elsewhere."""
    model = onnx.load(path)
    last = model.graph.node[-1]
    if last.op_type == "Softmax":
        model.graph.output.append(onnx.helper.make_empty_tensor_value_info(last.input[0]))
        onnx.save(model, path)


@pytest.mark.parametrize("name", BUT_VGG)  # whose operators others have; compiled it is compared as well
def test_light_model_with_random_weights_agrees_with_onnx_runtime(name, tmp_path):
    """The constant weights of the shipped files make most outputs 0.001; random ones tell right from wrong."""
    path = tmp_path / "random.onnx"
    randomize_onnx(model_path(name), path, np.random.default_rng(0))
    show_logits(path)
    graph = import_onnx(path)
    rng = np.random.default_rng(1)
    feeds = {name: rng.normal(0.0, 1.0, kind.shape).astype(np.float32) for name, kind in graph.inputs.items()}
    expected = onnxruntime.InferenceSession(path).run(list(graph.outputs), feeds)
    assert np.std(expected[-1]) > 0.1 * abs(expected[-1]).max(), "the logits should differ from class to class"
    for candidate in (graph, to_channels_last(graph)):
        for output, wanted in zip(candidate.evaluate(feeds).values(), expected, strict=True):
            np.testing.assert_allclose(output, wanted, rtol=1e-3, atol=1e-4 * abs(wanted).max())


@pytest.mark.parametrize("name", ["inception_v2", "shufflenet"])
def test_light_model_text_round_trip(name):
    graph = import_onnx(model_path(name))
    assert parse_graph(str(graph), graph.weights) == graph
