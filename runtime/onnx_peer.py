"""ONNX Runtime on the same model, as the yardstick: used when it is installed, for comparison only."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from runtime.graph import Graph


def onnxruntime_program(
    graph: Graph, feeds: Mapping[str, np.ndarray], threads: int, *, path: Path | None = None
) -> Callable[[], list[np.ndarray]] | None:
    """A function that runs the model once in ONNX Runtime and returns its outputs in order.

    path: the ONNX file that the graph came from; without one the graph is exported.
    Returns None when onnxruntime or onnx is not installed.
    """
    try:
        import onnx
        import onnxruntime

        from runtime.onnx_export import export_onnx
    except ImportError:
        return None
    with tempfile.TemporaryDirectory(prefix="mini-compilers-peer-") as folder:
        file = Path(folder) / "model.onnx"
        if path is None:
            export_onnx(graph, file)
        else:
            onnx.save(_with_constant_weights(onnx.load(path)), file)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    arrays = {name: np.ascontiguousarray(array) for name, array in feeds.items()}
    return lambda: session.run(None, arrays)


def _with_constant_weights(model: Any) -> Any:
    """The model with its weights no longer declared as inputs too, which keeps ONNX Runtime from folding them."""
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    model.ir_version = max(model.ir_version, 4)  # before version 4, weights had to be inputs
    return model
