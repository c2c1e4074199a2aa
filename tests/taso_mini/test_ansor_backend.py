"""Prices of single nodes: by default schedules, as they stand or channels last, and by tuned programs."""

from __future__ import annotations

import pytest

from ansor_mini.records import read_records
from runtime.graph import Node, TensorType
from runtime.machine import detect
from taso_mini.ansor_backend import MeasuredKernels, TunedKernels, has_weight, one_node_graph

X, W = TensorType((16, 24)), TensorType((24, 32))
MATMUL = Node("matmul", ("x", "w"), ("y",))
CONV = Node("conv", ("x", "w"), ("y",), {"layout": "NCHW"})
IMAGE, KERNEL = TensorType((1, 8, 6, 6)), TensorType((16, 8, 1, 1))


def test_a_node_is_taken_as_it_stands_or_channels_last():
    last, as_is = (one_node_graph(CONV, (IMAGE, KERNEL), channels_last=last).nodes for last in (True, False))
    assert [node["layout"] for node in last] == ["NHWC"] and [node["layout"] for node in as_is] == ["NCHW"]


def test_stacks_of_matrices_are_no_weights():
    assert has_weight(MATMUL, (X, W)) and has_weight(CONV, (IMAGE, KERNEL))
    assert not has_weight(MATMUL, (TensorType((2, 3, 4)), TensorType((2, 4, 5))))


@pytest.mark.cc
def test_every_order_of_a_product_has_a_price():
    with MeasuredKernels(detect(), channels_last=False) as kernels:
        turned = Node("matmul", ("x", "w"), ("y",), {"a_order": (1, 0), "order": (1, 0)})
        for node, types in ((MATMUL, (X, W)), (turned, (TensorType((24, 16)), W)), (CONV, (IMAGE, KERNEL))):
            seconds = kernels(node, types)
            assert seconds is not None and 0 < seconds < 1


@pytest.mark.cc
def test_a_tuned_price_is_the_best_record_and_is_found_once(tmp_path):
    path = tmp_path / "records.jsonl"
    with TunedKernels(detect(), path, trials=3) as kernels:
        seconds = kernels(MATMUL, (X, W))
        records = read_records(path)
        assert len(records) == 3 and seconds == min(record.cost for record in records)
        assert kernels(Node("relu", ("x",), ("y",)), (X,)) is not None
        assert kernels(MATMUL, (X, W)) == seconds and len(read_records(path)) == 3
    with TunedKernels(detect(), path) as again:
        assert again(MATMUL, (X, W)) == seconds
        assert again(MATMUL, (X, TensorType((24, 16)))) is not None and len(read_records(path)) == 3


def test_negative_trials_are_refused(tmp_path):
    with pytest.raises(ValueError, match="trials: expected at least 0, got -1"):
        TunedKernels(detect(), tmp_path / "records.jsonl", trials=-1)
