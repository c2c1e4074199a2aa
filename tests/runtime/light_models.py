"""The nine classic networks that the onnx package ships, with their expected outputs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from runtime.graph import TensorType

DIRECTORY = Path(onnx.__file__).parent / "backend/test/data/light"
SMALL = ("densenet121", "inception_v1", "inception_v2", "resnet50", "shufflenet", "squeezenet")
LARGE = ("bvlc_alexnet", "vgg19", "zfnet512")  # hundreds of megabytes of weights once they are generated
NAMES = [*SMALL, *(pytest.param(name, marks=pytest.mark.slow) for name in LARGE)]
BUT_VGG = [*SMALL, *(pytest.param(name, marks=pytest.mark.slow) for name in LARGE if name != "vgg19")]


def model_path(name: str) -> Path:
    return DIRECTORY / f"light_{name}.onnx"


def expected_output(name: str) -> np.ndarray:
    return onnx.numpy_helper.to_array(onnx.load_tensor(DIRECTORY / f"light_{name}_output_0.pb"))


def dummy_input(kind: TensorType) -> np.ndarray:
    """A ramp from 0 to 1: what onnx.backend.test feeds these models to get the expected outputs."""
    return (np.arange(kind.size).reshape(kind.shape) / kind.size).astype(np.float32)
