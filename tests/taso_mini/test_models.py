"""The built-in networks: published sizes, references, and the runtime."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import onnxruntime
import pytest

from ansor_mini.network import default_network
from runtime import executor
from runtime.graph import Graph
from runtime.layout import to_channels_last
from runtime.machine import detect
from runtime.onnx_export import export_onnx
from taso_mini.graph_terms import read_node
from taso_mini.load_model import sample_inputs
from taso_mini.models import MODELS, PAPER_MODELS
from tests.taso_mini.model_references import REFERENCES, Reference

CLASSIFIERS = ("squeezenet", "mobilenet_v2", "resnet3d_18")
# Sizes at which a plain reference is quick, and what the reference needs to know of them.
REDUCED = [
    ("resnet50", {"image": 15, "channels": 4, "repeats": (2, 2, 1), "batch": 2}, {"repeats": (2, 2, 1)}),
    ("resnext50", {"image": 36, "channels": 8, "groups": 4, "repeats": (1, 2)}, {"repeats": (1, 2)}),
    ("nasnet_a", {"image": 32, "channels": 4, "stem": 6, "stages": 2, "cells": 2}, {"stages": 2, "cells": 2}),
    (
        "nasnet_a",
        {"image": 32, "channels": 4, "stem": 6, "stages": 1, "cells": 1, "nested_concats": True},
        {"stages": 1, "cells": 1},
    ),
    ("nasrnn", {"hidden": 24, "steps": 3, "batch": 2}, {}),
    (
        "bert",
        {"layers": 2, "hidden": 24, "heads": 3, "sequence": 5, "batch": 2},
        {"layers": 2, "heads": 3, "sequence": 5, "softmax": True},
    ),
    (
        "bert",
        {"layers": 2, "hidden": 24, "heads": 3, "sequence": 5, "batch": 2, "softmax": False},
        {"layers": 2, "heads": 3, "sequence": 5, "softmax": False},
    ),
    ("inception_v3", {"image": 75, "shrink": 16}, {}),
    ("squeezenet_bypass", {"image": 46, "shrink": 8, "batch": 2}, {}),
    ("resnet3d_18", {"frames": 5, "image": 18, "channels": (4, 6, 8, 10), "classes": 7, "batch": 2}, {}),
    ("dcgan", {"noise": 5, "channels": 8, "stages": 3, "batch": 2}, {"channels": 8}),
    (
        "bert_base",
        {"layers": 2, "hidden": 24, "heads": 3, "feed_forward": 40, "sequence": 5, "batch": 2},
        {"layers": 2, "heads": 3},
    ),
]
IDS = [f"{name}-{number}" for number, (name, _, _) in enumerate(REDUCED)]


def build(name: str, **sizes: object) -> Graph:
    return MODELS[name](np.random.default_rng(0), **sizes)


def operators(graph: Graph) -> Counter[str]:
    return Counter(node.operator for node in graph.nodes)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_classifier_is_seeded_and_gives_probabilities(name):
    graph = build(name)
    assert graph == build(name) != MODELS[name](np.random.default_rng(1))
    (prob,) = graph.evaluate(sample_inputs(graph)).values()
    assert prob.sum() == pytest.approx(1.0, rel=1e-5)
    assert 2 / prob.size < prob.max() < 0.99, "neither uniform nor saturated"


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in MODELS if name not in CLASSIFIERS])
def test_activations_of_a_whole_network_neither_vanish_nor_explode(name):
    graph = build(name)
    output, *_ = graph.evaluate(sample_inputs(graph)).values()
    assert 0.03 < math.sqrt(np.mean(np.square(output.astype(np.float64)))) < 30


def test_squeezenet_has_the_published_size():
    """1.24 million weights (Iandola et al., 4.8 MB) and 0.35 billion multiply-adds."""
    graph = build("squeezenet")
    assert sum(array.size for array in graph.weights.values()) == 1_235_496
    assert graph.flops == pytest.approx(0.7e9, rel=0.02)
    assert operators(graph)["conv"] == 26


def test_mobilenet_v2_has_the_published_size():
    """3.4 million weights and 300 million multiply-adds (Sandler et al., Table 4)."""
    graph = build("mobilenet_v2")
    assert sum(array.size for array in graph.weights.values()) == 3_487_816, "3,470,760 and 17,056 folded biases"
    assert graph.flops == pytest.approx(0.6e9, rel=0.05)
    assert operators(graph)["conv"] == 52
    assert operators(graph)["add"] == 10 + 1, "residuals, and the bias of the classifier"


def test_resnet50_is_the_published_graph():
    """He et al., Table 1, without stem and classifier."""
    graph = build("resnet50")
    assert operators(graph) == {"conv": 3 * 16 + 4, "add": 16, "relu": 16}
    assert len(graph.nodes) == 84
    assert graph.types[graph.outputs[0]].shape == (1, 2048, 7, 7)
    assert sum(array.size for array in graph.weights.values()) == 23_445_504
    assert graph.flops == pytest.approx(2 * 3.97e9, rel=0.01), "the stride is in the 3 x 3, not in the 1 x 1 before it"
    # 25.5 million in all: 9,408 in the stem, 2,049,000 in the classifier, 53,120 in normalisations.
    assert 23_445_504 + 9_408 + 2_049_000 + 53_120 == pytest.approx(25.56e6, rel=1e-3)


def test_resnext50_is_the_published_graph():
    """Xie et al., Table 1: 25.0 million weights and 4.2 billion multiply-adds with the classifier's 2 million."""
    graph = build("resnext50")
    assert operators(graph) == {"conv": 1 + 3 * 16 + 4, "max_pool": 1, "add": 16, "relu": 16}
    assert len(graph.nodes) == 86
    assert {node["groups"] for node in graph.nodes if node.operator == "conv"} == {1, 32}
    assert sum(array.size for array in graph.weights.values()) == pytest.approx(25.0e6 - 2.05e6, rel=0.01)
    assert graph.flops == pytest.approx(2 * 4.2e9, rel=0.02)


def test_nasnet_a_is_the_published_graph():
    graph = build("nasnet_a")
    normal, reduction = 15, 3
    assert operators(graph) == {
        "conv": 1 + 2 * 18 + 2 * 5 * 18,
        "max_pool": 1 + 2 * reduction,
        "avg_pool": 3 * normal + 2 * reduction,
        "add": 5 * 18,
        "concat": 18,
    }
    assert len(graph.nodes) == 383
    assert graph.types[graph.outputs[0]].shape == (1, 5 * 1024, 7, 7)
    nested = build("nasnet_a", nested_concats=True)
    assert len(nested.nodes) == 437
    assert {len(node.inputs) for node in nested.nodes if node.operator == "concat"} == {2}


def test_nasrnn_is_the_published_graph():
    graph = build("nasrnn")
    assert operators(graph) == {
        "matmul": 5 * 16,
        "add": 5 * (8 + 3),
        "mul": 5 * 4,
        "relu": 5 * 2,
        "sigmoid": 5 * 5,
        "tanh": 5 * 8,
    }
    assert len(graph.nodes) == 230
    assert len(graph.weights) == 1 + 80 and len(graph.inputs) == 5


def test_bert_is_the_published_graph():
    graph = build("bert", softmax=False)
    assert operators(graph) == {"relu": 1, "matmul": 8 * 6, "reshape": 8 * 4, "transpose": 8 * 4}
    assert len(graph.nodes) == 113
    assert graph.types[graph.outputs[0]].shape == (16 * 64, 1024)
    assert operators(build("bert")) == operators(graph) + Counter(softmax=8)


@pytest.mark.parametrize("softmax", [True, False])
def test_nothing_in_bert_is_left_without_a_reader(softmax):
    graph = build("bert", layers=2, hidden=8, heads=2, sequence=3, batch=1, softmax=softmax)
    assert all(graph.users(value) or value in graph.outputs for value in graph.types)


def test_inception_v3_is_the_published_graph():
    """Szegedy et al., Table 1: the sizes on the way; 5 billion multiply-adds and under 25 million weights."""
    graph = build("inception_v3")
    assert operators(graph) == {"conv": 94, "max_pool": 4, "avg_pool": 10, "concat": 11}
    assert len(graph.nodes) == 119
    shapes = [graph.types[name].shape[1:] for name in ("stem_pool1", "a0", "a2", "b", "c3", "d", "e1")]
    assert shapes == [
        (192, 35, 35),
        (256, 35, 35),
        (288, 35, 35),
        (768, 17, 17),
        (768, 17, 17),
        (1280, 8, 8),
        (2048, 8, 8),
    ]
    assert sum(array.size for array in graph.weights.values()) == pytest.approx(21.8e6, rel=0.01)
    assert graph.flops == pytest.approx(2 * 5.7e9, rel=0.02)


def test_resnet3d_18_is_the_published_graph():
    """33,371,472 weights in torchvision, whose stem has a window of 3 x 7 x 7 and whose normalisations have 9,600."""
    graph = build("resnet3d_18")
    assert operators(graph)["conv"] == 1 + 4 * 4 + 3
    shapes = [graph.types[f"block{stage}_1_relu"].shape[1:] for stage in (1, 2, 3, 4)]
    assert shapes == [(64, 8, 28, 28), (128, 4, 14, 14), (256, 2, 7, 7), (512, 1, 4, 4)]
    size = sum(array.size for array in graph.weights.values())
    assert size - 3 * 64 * 4 * 7 * 7 - 4_800 == 33_371_472 - 9_600, "each normalisation is folded into a bias"


def test_dcgan_is_the_published_graph():
    """Radford et al., Figure 1: 100 numbers, then 1024 to 3 channels."""
    graph = build("dcgan")
    shapes = [graph.types[name].shape[1:] for name in ("project_image", "up1", "up2", "up3", "image")]
    assert shapes == [(1024, 4, 4), (512, 8, 8), (256, 16, 16), (128, 32, 32), (3, 64, 64)]
    assert operators(graph)["conv_transpose"] == 4


def test_bert_base_has_the_published_size():
    """110 million weights (Devlin et al.) with 23.8 million in the embeddings; 11 billion multiply-adds."""
    graph = build("bert_base")
    embeddings = (30_522 + 512 + 2) * 768
    assert sum(array.size for array in graph.weights.values()) + embeddings == 109_482_240 + 5, "and five numbers"
    assert graph.flops == pytest.approx(2 * 11.2e9, rel=0.01)
    assert operators(graph)["softmax"] == 12


def test_squeezenet_with_bypasses_is_the_published_graph():
    """50 kernels in the evaluation of MetaFlow; the last pool sees 13 x 13 values."""
    graph = build("squeezenet_bypass")
    assert operators(graph) == {"conv": 1 + 3 * 8 + 4 + 1, "max_pool": 3, "avg_pool": 1, "concat": 8, "add": 8}
    assert len(graph.nodes) == 50
    assert graph.types["conv10"].shape == (1, 1000, 13, 13)


@pytest.mark.parametrize(("name", "sizes", "known"), REDUCED, ids=IDS)
def test_a_model_computes_what_its_reference_does(name, sizes, known):
    graph = build(name, **sizes)
    assert graph == build(name, **sizes) != MODELS[name](np.random.default_rng(1), **sizes)
    feeds = sample_inputs(graph)
    net = Reference(graph.weights)
    expected = REFERENCES[name](net, *(array.astype(np.float64) for array in feeds.values()), **known)
    found = graph.evaluate(feeds, all_values=True)
    constants = {value for value in graph.weights if value.startswith("number")}
    assert net.used == set(graph.weights) - constants
    outputs = expected if isinstance(expected, tuple) else (expected,)
    layers = {**net.values, **dict(zip(graph.outputs, outputs, strict=True))}
    assert len(layers) > len(graph.weights) / 4, "most layers are looked at"
    for value, wanted in layers.items():
        assert np.abs(wanted).max() > 0.01
        np.testing.assert_allclose(found[value], wanted, rtol=1e-3, atol=1e-5 * np.abs(wanted).max(), err_msg=value)


@pytest.mark.cc
@pytest.mark.slow
@pytest.mark.parametrize(("name", "sizes", "known"), REDUCED, ids=IDS)
def test_a_compiled_model_computes_the_same(name, sizes, known, tmp_path):
    graph = build(name, **sizes)
    feeds = sample_inputs(graph)
    network = executor.build(default_network(to_channels_last(graph), detect(), threads=1), tmp_path / "net")
    found = network.run(**feeds)
    for value, wanted in graph.evaluate(feeds).items():
        np.testing.assert_allclose(found[value], wanted, rtol=1e-3, atol=1e-5 * np.abs(wanted).max())


@pytest.mark.parametrize(("name", "sizes", "known"), REDUCED, ids=IDS)
def test_peers_run_the_very_same_graph(name, sizes, known, tmp_path):
    graph = build(name, **sizes)
    feeds = sample_inputs(graph)
    export_onnx(graph, tmp_path / "model.onnx")
    found = onnxruntime.InferenceSession(tmp_path / "model.onnx").run(list(graph.outputs), feeds)
    for value, wanted in zip(found, graph.evaluate(feeds).values(), strict=True):
        np.testing.assert_allclose(value, wanted, rtol=1e-3, atol=1e-5 * np.abs(wanted).max())


@pytest.mark.parametrize("name", PAPER_MODELS)
def test_rules_know_most_operators_of_the_papers_networks(name):
    sizes = next(sizes for model, sizes, _ in REDUCED if model == name)
    graph = build(name, **sizes)
    opaque = Counter(
        node.operator
        for node in graph.nodes
        if None in read_node(node, tuple(graph.types[value] for value in node.inputs))
    )
    assert set(opaque) <= {"matmul", "reshape", "softmax", "concat"}, "batched products; joins of five"


@pytest.mark.parametrize(
    ("name", "sizes", "message"),
    [
        ("resnet50", {"channels": 0}, "resnet50: channels: expected positive integers, got 0"),
        ("resnet50", {"repeats": ()}, r"resnet50: repeats: expected positive integers, got \(\)"),
        ("resnext50", {"channels": 100}, "resnext50: channels: expected a multiple of groups = 32, got 100"),
        ("nasnet_a", {"cells": -1}, "nasnet_a: cells: expected positive integers, got -1"),
        ("nasrnn", {"hidden": 2.5}, "nasrnn: hidden: expected positive integers, got 2.5"),
        ("bert", {"heads": 3}, "bert: hidden: expected a multiple of heads = 3, got 1024"),
        ("resnet3d_18", {"frames": 0}, "resnet3d_18: frames: expected positive integers, got 0"),
        ("dcgan", {"channels": 12}, "dcgan: channels: expected a multiple of 8, got 12"),
        ("bert_base", {"heads": 5}, "bert_base: hidden: expected a multiple of heads = 5, got 768"),
        ("squeezenet_bypass", {"image": 29}, "squeezenet_bypass: image: expected at least 30 pixels, got 29"),
        ("inception_v3", {"image": 64}, "inception_v3: image: expected at least 75 pixels, got 64"),
    ],
)
def test_a_wrong_size_is_one_clear_sentence(name, sizes, message):
    with pytest.raises(ValueError, match=message):
        build(name, **sizes)
