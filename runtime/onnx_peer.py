"""ONNX Runtime on the same model, as the yardstick: used when it is installed, for comparison only."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from runtime.graph import Graph


def onnxruntime_program(
    graph: Graph, feeds: Mapping[str, np.ndarray], threads: int, *, path: Path | None = None
) -> Callable[[], list[np.ndarray]] | None:
    """A function that runs the model once in ONNX Runtime and returns its outputs in order.

    path: the ONNX file that the graph came from; without one the graph is exported.
    Returns None when onnxruntime, or onnx for the export, is not installed.
    """
    try:
        import onnxruntime
    except ImportError:
        return None
    with tempfile.TemporaryDirectory(prefix="mini-compilers-peer-") as folder:
        if path is None:
            try:
                from runtime.onnx_export import export_onnx

                path = Path(folder) / "model.onnx"
                export_onnx(graph, path)
            except ImportError:
                return None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    arrays = {name: np.ascontiguousarray(array) for name, array in feeds.items()}
    return lambda: session.run(None, arrays)
