"""A model by name or file: a built-in network, an ONNX file, or a graph that is already one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from runtime.graph import Graph
from taso_mini.models import MODELS


def load_model(
    model: str | Path | Graph, *, seed: int = 0, shapes: Mapping[str, tuple[int, ...]] | None = None
) -> Graph:
    """Load a model as a graph with its constants folded.

    model: the name of a built-in network (its weights are drawn from `seed`), the path of an ONNX file, or a graph.
    shapes: shapes for inputs that an ONNX file leaves open.
    Raises: ValueError: neither a known name nor a file, shapes given for a built-in network, or a file that is not a
        usable model (`runtime.onnx_import.ModelError`).
    """
    if isinstance(model, Graph):
        return model.fold_constants()
    if str(model) in MODELS:
        if shapes:
            raise ValueError(f"--shape is for ONNX files; the built-in network {model} has fixed shapes")
        return MODELS[str(model)](np.random.default_rng(seed)).fold_constants()
    path = Path(model)
    if not path.exists():
        raise ValueError(f"{model} is neither a file nor a built-in network ({', '.join(sorted(MODELS))})")
    from runtime.onnx_import import import_onnx

    return import_onnx(path, shapes).fold_constants()


def parse_shapes(texts: list[str]) -> dict[str, tuple[int, ...]]:
    """Read the values of `--shape` options.

    >>> parse_shapes(["data=1,3,224,224"])
    {'data': (1, 3, 224, 224)}
    """
    shapes = {}
    for text in texts:
        name, _, extents = text.partition("=")
        try:
            shape = tuple(int(extent) for extent in extents.split(","))
        except ValueError:
            shape = ()
        if not name or not shape or min(shape) < 1:
            raise ValueError(f"--shape expects NAME=1,3,224,224 with positive integers, got {text!r}")
        shapes[name] = shape
    return shapes


def sample_inputs(graph: Graph, seed: int = 0) -> dict[str, np.ndarray]:
    """Inputs to run a model on: normally distributed floats, small integers."""
    rng = np.random.default_rng(seed + 1)
    feeds = {}
    for name, kind in graph.inputs.items():
        if kind.dtype.startswith("float"):
            feeds[name] = rng.standard_normal(kind.shape).astype(kind.dtype)
        else:
            feeds[name] = rng.integers(0, 2, kind.shape).astype(kind.dtype)
    return feeds
