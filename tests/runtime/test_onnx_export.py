"""Exported graphs run in ONNX Runtime with the same result, and import again as the same function."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, note

from runtime.layout import to_channels_last
from runtime.onnx_export import WRITERS, export_onnx
from runtime.onnx_import import import_onnx
from runtime.operators import OPERATORS
from runtime.random_weights import randomize_onnx, randomize_weights
from taso_mini.models.squeezenet import squeezenet
from tests.runtime.light_models import model_path
from tests.strategies.graphs import feeds, graphs


def close(got, wanted):
    assert got.shape == wanted.shape
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4 * max(1.0, float(np.nanmax(abs(wanted)))))


def test_every_operator_is_exported():
    assert WRITERS.keys() == OPERATORS.keys()


@given(graphs())
def test_onnx_runtime_computes_what_the_reference_computes(graph):
    note(str(graph))
    for variant in (graph, to_channels_last(graph)):
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "graph.onnx"
            export_onnx(variant, path)
            session = onnxruntime.InferenceSession(path)
            again = import_onnx(path)
        got = session.run(list(graph.outputs), {i.name: feeds(graph)[i.name] for i in session.get_inputs()})
        expected = graph.evaluate(feeds(graph))
        imported = again.evaluate(feeds(graph))
        for name, value in zip(graph.outputs, got, strict=True):
            close(value, expected[name])
            close(imported[name], expected[name])


def test_squeezenet_in_onnx_runtime(tmp_path):
    graph = squeezenet(np.random.default_rng(0), image=96)
    export_onnx(graph, tmp_path / "s.onnx")
    x = np.random.default_rng(1).normal(size=(1, 3, 96, 96)).astype(np.float32)
    (expected,) = onnxruntime.InferenceSession(tmp_path / "s.onnx").run(None, {"data": x})
    np.testing.assert_allclose(graph.evaluate({"data": x})["prob"], expected, rtol=1e-3, atol=1e-7)


def test_random_weights_replace_constant_ones():
    graph = randomize_weights(import_onnx(model_path("squeezenet")), np.random.default_rng(0))
    assert all(np.ptp(array) > 0 for array in graph.weights.values())
    again = randomize_weights(import_onnx(model_path("squeezenet")), np.random.default_rng(0))
    assert graph == again, "the same seed gives the same weights"


@pytest.mark.parametrize("name", ["inception_v2", "shufflenet"])
def test_random_weights_in_a_file_keep_the_graph(name, tmp_path):
    randomize_onnx(model_path(name), tmp_path / "r.onnx", np.random.default_rng(0))
    before, after = import_onnx(model_path(name)), import_onnx(tmp_path / "r.onnx")
    assert (before.inputs, before.nodes, before.outputs) == (after.inputs, after.nodes, after.outputs)
