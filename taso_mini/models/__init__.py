"""Networks built in Python, with seeded random weights: `MODELS[name](rng)` gives a Graph.

Paper: TASO §7. `PAPER_MODELS` are the five that the paper measures. `NETWORKS` are those of both papers, with the two
small ones: ten that the benchmarks compile as they stand. Others are there for a comparison of their own.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from runtime.graph import Graph
from taso_mini.models.bert import bert
from taso_mini.models.bert_base import bert_base
from taso_mini.models.dcgan import dcgan
from taso_mini.models.inception_v3 import inception_v3
from taso_mini.models.mobilenet_v2 import mobilenet_v2
from taso_mini.models.nasnet_a import nasnet_a
from taso_mini.models.nasrnn import nasrnn
from taso_mini.models.resnet3d_18 import resnet3d_18
from taso_mini.models.resnet50 import resnet50
from taso_mini.models.resnext50 import resnext50
from taso_mini.models.squeezenet import squeezenet
from taso_mini.models.squeezenet_bypass import squeezenet_bypass

MODELS: dict[str, Callable[[np.random.Generator], Graph]] = {
    "squeezenet": squeezenet,
    "mobilenet_v2": mobilenet_v2,
    "resnet50": resnet50,
    "resnext50": resnext50,
    "nasnet_a": nasnet_a,
    "nasrnn": nasrnn,
    "bert": bert,
    "inception_v3": inception_v3,
    "squeezenet_bypass": squeezenet_bypass,
    "resnet3d_18": resnet3d_18,
    "dcgan": dcgan,
    "bert_base": bert_base,
}
PAPER_MODELS = ("resnet50", "nasnet_a", "resnext50", "nasrnn", "bert")
NETWORKS = (
    "resnet50",
    "mobilenet_v2",
    "resnet3d_18",
    "dcgan",
    "bert_base",
    "resnext50",
    "nasnet_a",
    "nasrnn",
    "squeezenet",
    "inception_v3",
)
