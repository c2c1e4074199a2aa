"""What people would use instead of a tuned kernel: the paper's operators in NumPy, PyTorch and ONNX Runtime.

Each function gives the peers of one family as callables on arrays that were laid out for them beforehand: both channel
orders for PyTorch, channels first for ONNX Runtime (which has no other), weights as constants where the library can
prepare constants. `result` brings a peer's answer back to the layout of the workload, to compare.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray


@dataclass(frozen=True)
class Peer:
    """A library's program for one case; `result` runs it once and returns the workload's output."""

    name: str
    run: Callable[[], Any]
    result: Callable[[], Array]


def peers_of(family: str, numbers: Sequence[int], arrays: Sequence[Array], threads: int) -> list[Peer]:
    """The peers of one case, on the workload's own input arrays.

    Libraries that are not installed are left out.
    Raises: ValueError: a family without peers.
    """
    import torch

    torch.set_num_threads(threads)
    if family not in FAMILIES:
        raise ValueError(f"no peers for {family!r}; there are some for {', '.join(FAMILIES)}")
    return FAMILIES[family](numbers, arrays, threads)


def _matmul(numbers: Sequence[int], arrays: Sequence[Array], threads: int) -> list[Peer]:
    import torch

    a, b = arrays
    out = np.empty((a.shape[0], b.shape[1]), np.float32)
    ta, tb = torch.from_numpy(a), torch.from_numpy(b)
    tout = torch.empty(out.shape)

    def in_numpy() -> Array:
        return np.matmul(a, b, out=out)

    def in_torch() -> Any:
        with torch.inference_mode():
            return torch.mm(ta, tb, out=tout)

    session = _session("MatMul", {"A": a, "B": b}, {}, {}, threads)
    return [
        Peer("numpy", in_numpy, in_numpy),
        Peer("torch", in_torch, lambda: in_torch().numpy()),
        Peer("onnxruntime", session, lambda: session()[0]),
    ]


def _convolution(
    numbers: Sequence[int],
    arrays: Sequence[Array],
    threads: int,
    *,
    dimensions: int,
    groups: int = 1,
    dilation: int = 1,
    depthwise: bool = False,
) -> list[Peer]:
    """Convolutions of X[n, *spatial, ci] with W[*kernel, ci / groups, co]; depthwise: W[*kernel, c]."""
    stride, padding = numbers[-2:]
    x = np.ascontiguousarray(np.moveaxis(arrays[0], -1, 1))
    weight = np.moveaxis(arrays[1], -1, 0)[:, None] if depthwise else np.moveaxis(arrays[1], (-1, -2), (0, 1))
    if depthwise:
        groups = x.shape[1]
    return _convolution_peers(x, np.ascontiguousarray(weight), threads, dimensions, stride, padding, dilation, groups)


def _convolution_peers(
    x: Array, weight: Array, threads: int, dimensions: int, stride: int, padding: int, dilation: int, groups: int
) -> list[Peer]:
    """Peers for x[n, c, *spatial] and weight[co, ci / groups, *kernel]; results have channels last again."""
    import torch

    function = getattr(torch.nn.functional, f"conv{dimensions}d")
    options: dict[str, Any] = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}

    def program(tx: Any, tw: Any, convolve: Any = function, options: dict[str, Any] = options) -> Callable[[], Any]:
        def run() -> Any:
            with torch.inference_mode():
                return convolve(tx, tw, **options)

        return run

    first = program(torch.from_numpy(x), torch.from_numpy(weight))
    session = _session(
        "Conv",
        {"X": x},
        {"W": weight},
        {
            "strides": [stride] * dimensions,
            "pads": [padding] * 2 * dimensions,
            "dilations": [dilation] * dimensions,
            "group": groups,
        },
        threads,
    )
    if dimensions == 1:
        # PyTorch has channels-last tensors for 2 and 3 spatial axes only, so one more of length 1 is added.
        flat = {"stride": (1, stride), "padding": (0, padding), "dilation": (1, dilation), "groups": groups}
        tensors = (torch.from_numpy(x[:, :, None]), torch.from_numpy(weight[:, :, None]))
        last = program(*_channels_last(*tensors), torch.nn.functional.conv2d, flat)
    else:
        last = program(*_channels_last(torch.from_numpy(x), torch.from_numpy(weight)))

    def back(answer: Array) -> Array:
        if answer.ndim > dimensions + 2:
            answer = answer[:, :, 0]
        return np.moveaxis(answer, 1, -1)

    return [
        Peer("torch", first, lambda: back(first().numpy())),
        Peer("torch channels last", last, lambda: back(last().numpy())),
        Peer("onnxruntime", session, lambda: back(session()[0])),
    ]


def _channels_last(*tensors: Any) -> tuple[Any, ...]:
    import torch

    return tuple(
        tensor.contiguous(memory_format=torch.channels_last if tensor.dim() == 4 else torch.channels_last_3d)
        for tensor in tensors
    )


def _transposed(numbers: Sequence[int], arrays: Sequence[Array], threads: int) -> list[Peer]:
    """Transposed convolution of X[n, h, w, ci] with W[kh, kw, ci, co]."""
    import torch

    stride, padding = numbers[-2:]
    x = np.ascontiguousarray(np.moveaxis(arrays[0], -1, 1))
    weight = np.ascontiguousarray(np.moveaxis(arrays[1], (2, 3), (0, 1)))

    def program(tx: Any, tw: Any) -> Callable[[], Any]:
        def run() -> Any:
            with torch.inference_mode():
                return torch.nn.functional.conv_transpose2d(tx, tw, stride=stride, padding=padding)

        return run

    first = program(torch.from_numpy(x), torch.from_numpy(weight))
    last = program(*_channels_last(torch.from_numpy(x), torch.from_numpy(weight)))
    attributes = {"strides": [stride] * 2, "pads": [padding] * 4}
    session = _session("ConvTranspose", {"X": x}, {"W": weight}, attributes, threads)
    return [
        Peer("torch", first, lambda: np.moveaxis(first().numpy(), 1, -1)),
        Peer("torch channels last", last, lambda: np.moveaxis(last().numpy(), 1, -1)),
        Peer("onnxruntime", session, lambda: np.moveaxis(session()[0], 1, -1)),
    ]


def _capsule(numbers: Sequence[int], arrays: Sequence[Array], threads: int) -> list[Peer]:
    """Capsule convolution as the ordinary one it is: rows of the left matrices are images, columns are channels."""
    stride, padding = numbers[-2:]
    source, kernel = arrays  # [n, h, w, a, k, ci], [kh, kw, k, b, ci, co]
    n, h, w, _, _, ci = source.shape
    kh, kw, _, _, _, co = kernel.shape
    x = source.transpose(0, 3, 4, 5, 1, 2).reshape(n * 4, 4 * ci, h, w)
    weight = kernel.transpose(3, 5, 2, 4, 0, 1).reshape(4 * co, 4 * ci, kh, kw)
    found = _convolution_peers(
        np.ascontiguousarray(x), np.ascontiguousarray(weight), threads, 2, stride, padding, 1, 1
    )

    def back(answer: Array) -> Array:
        _, oh, ow, _ = answer.shape
        return answer.reshape(n, 4, oh, ow, 4, co).transpose(0, 2, 3, 1, 4, 5)

    return [Peer(peer.name, peer.run, lambda peer=peer: back(peer.result())) for peer in found]  # type: ignore[misc]


def _norm(numbers: Sequence[int], arrays: Sequence[Array], threads: int) -> list[Peer]:
    import torch

    x = arrays[0]
    tx = torch.from_numpy(x)

    def in_numpy() -> Array:
        return np.asarray([np.linalg.norm(x[0])], np.float32)

    def in_torch() -> Any:
        with torch.inference_mode():
            return torch.linalg.vector_norm(tx, dim=(1, 2))

    session = _session("ReduceL2", {"X": x}, {}, {"axes": [1, 2], "keepdims": 0}, threads)
    return [
        Peer("numpy", in_numpy, in_numpy),
        Peer("torch", in_torch, lambda: in_torch().numpy()),
        Peer("onnxruntime", session, lambda: session()[0]),
    ]


def _session(
    operator: str, inputs: dict[str, Array], constants: dict[str, Array], attributes: dict[str, Any], threads: int
) -> Callable[[], list[Array]]:
    """One operator in ONNX Runtime."""
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    node = helper.make_node(operator, [*inputs, *constants], ["Y"], **attributes)
    graph = helper.make_graph(
        [node],
        operator,
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, array.shape) for name, array in inputs.items()],
        [helper.make_tensor_value_info("Y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, inputs)


FAMILIES: dict[str, Callable[[Sequence[int], Sequence[Array], int], list[Peer]]] = {
    "matmul": _matmul,
    "C1D": lambda n, a, t: _convolution(n, a, t, dimensions=1),
    "C2D": lambda n, a, t: _convolution(n, a, t, dimensions=2),
    "C3D": lambda n, a, t: _convolution(n, a, t, dimensions=3),
    "GRP": lambda n, a, t: _convolution(n, a, t, dimensions=2, groups=4),
    "DIL": lambda n, a, t: _convolution(n, a, t, dimensions=2, dilation=2),
    "DEP": lambda n, a, t: _convolution(n, a, t, dimensions=2, depthwise=True),
    "T2D": _transposed,
    "CAP": _capsule,
    "NRM": _norm,
}
