"""What people would use instead of a tuned kernel: the paper's operators in NumPy, PyTorch and ONNX Runtime.

Each library's peers work on arrays that were laid out for them beforehand: both channel orders for PyTorch, channels
first for ONNX Runtime (which has no other), weights as constants where the library can prepare constants. `result`
brings a peer's answer back to the layout of the workload, to compare.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Union

import numpy as np

Array = np.ndarray
LIBRARIES = ("numpy", "torch", "onnxruntime")


@dataclass(frozen=True)
class Peer:
    """A library's program for one case; `result` runs it once and returns the workload's output."""

    name: str
    run: Callable[[], Any]
    result: Callable[[], Array]


@dataclass(frozen=True)
class Matmul:
    """C = a @ b."""

    a: Array
    b: Array


@dataclass(frozen=True)
class Norm:
    """The Frobenius norm of x[1, rows, columns]."""

    x: Array


@dataclass(frozen=True)
class Convolution:
    """x[n, ci, *spatial] with weight[co, ci / groups, *kernel]; transposed: weight[ci, co, *kernel].

    back: from an answer [n, co, *spatial] to the layout of the workload.
    """

    x: Array
    weight: Array
    stride: int
    padding: int
    dilation: int = 1
    groups: int = 1
    transposed: bool = False
    back: Callable[[Array], Array] = lambda answer: np.moveaxis(answer, 1, -1)

    @property
    def dimensions(self) -> int:
        """Spatial axes."""
        return self.x.ndim - 2


Problem = Union[Matmul, Norm, Convolution]


def peers_of(library: str, family: str, numbers: Sequence[int], arrays: Sequence[Array], threads: int) -> list[Peer]:
    """A library's peers of one case, on the workload's own input arrays; none where it has no such operator.

    Raises: ValueError: a family or a library without peers; ImportError: the library is not installed.
    """
    if family not in PROBLEMS:
        raise ValueError(f"no peers for {family!r}; there are some for {', '.join(PROBLEMS)}")
    if library not in LIBRARIES:
        raise ValueError(f"no library {library!r}; there are {', '.join(LIBRARIES)}")
    problem = PROBLEMS[family](numbers, arrays)
    return {"numpy": _in_numpy, "torch": _in_torch, "onnxruntime": _in_onnxruntime}[library](problem, threads)


def _convolution(numbers: Sequence[int], arrays: Sequence[Array], *, dilation: int = 1, groups: int = 1) -> Convolution:
    """X[n, *spatial, ci] with W[*kernel, ci / groups, co]."""
    weight = np.moveaxis(arrays[1], (-1, -2), (0, 1))
    return Convolution(_first(arrays[0]), np.ascontiguousarray(weight), *numbers[-2:], dilation, groups)


def _depthwise(numbers: Sequence[int], arrays: Sequence[Array]) -> Convolution:
    """X[n, h, w, c] with W[kh, kw, c]."""
    weight = np.ascontiguousarray(np.moveaxis(arrays[1], -1, 0)[:, None])
    return Convolution(_first(arrays[0]), weight, *numbers[-2:], groups=arrays[0].shape[-1])


def _transposed(numbers: Sequence[int], arrays: Sequence[Array]) -> Convolution:
    """X[n, h, w, ci] with W[kh, kw, ci, co]."""
    weight = np.ascontiguousarray(np.moveaxis(arrays[1], (2, 3), (0, 1)))
    return Convolution(_first(arrays[0]), weight, *numbers[-2:], transposed=True)


def _capsule(numbers: Sequence[int], arrays: Sequence[Array]) -> Convolution:
    """Capsule convolution as the ordinary one it is: rows of the left matrices are images, columns are channels."""
    source, kernel = arrays  # [n, h, w, a, k, ci], [kh, kw, k, b, ci, co]
    n, h, w, _, _, ci = source.shape
    kh, kw, _, _, _, co = kernel.shape
    x = source.transpose(0, 3, 4, 5, 1, 2).reshape(n * 4, 4 * ci, h, w)
    weight = kernel.transpose(3, 5, 2, 4, 0, 1).reshape(4 * co, 4 * ci, kh, kw)

    def back(answer: Array) -> Array:
        return answer.reshape(n, 4, 4, co, *answer.shape[2:]).transpose(0, 4, 5, 1, 2, 3)

    return Convolution(np.ascontiguousarray(x), np.ascontiguousarray(weight), *numbers[-2:], back=back)


def _first(x: Array) -> Array:
    return np.ascontiguousarray(np.moveaxis(x, -1, 1))


PROBLEMS: dict[str, Callable[[Sequence[int], Sequence[Array]], Problem]] = {
    "matmul": lambda numbers, arrays: Matmul(*arrays),
    "C1D": _convolution,
    "C2D": _convolution,
    "C3D": _convolution,
    "GRP": lambda numbers, arrays: _convolution(numbers, arrays, groups=4),
    "DIL": lambda numbers, arrays: _convolution(numbers, arrays, dilation=2),
    "DEP": _depthwise,
    "T2D": _transposed,
    "CAP": _capsule,
    "NRM": lambda numbers, arrays: Norm(arrays[0]),
}


def _in_numpy(problem: Problem, threads: int) -> list[Peer]:
    """NumPy takes its threads from the environment."""
    if isinstance(problem, Matmul):
        out = np.empty((problem.a.shape[0], problem.b.shape[1]), np.float32)

        def multiply() -> Array:
            return np.matmul(problem.a, problem.b, out=out)

        return [Peer("numpy", multiply, multiply)]
    if isinstance(problem, Norm):

        def norm() -> Array:
            return np.asarray([np.linalg.norm(problem.x[0])], np.float32)

        return [Peer("numpy", norm, norm)]
    return []


def _in_torch(problem: Problem, threads: int) -> list[Peer]:
    import torch

    torch.set_num_threads(threads)

    def peer(name: str, program: Callable[[], Any], back: Callable[[Array], Array] = lambda answer: answer) -> Peer:
        def run() -> Any:
            with torch.inference_mode():
                return program()

        return Peer(name, run, lambda: back(run().numpy()))

    if isinstance(problem, Matmul):
        a, b = torch.from_numpy(problem.a), torch.from_numpy(problem.b)
        out = torch.empty(a.shape[0], b.shape[1])
        return [peer("torch", lambda: torch.mm(a, b, out=out))]
    if isinstance(problem, Norm):
        x = torch.from_numpy(problem.x)
        return [peer("torch", lambda: torch.linalg.vector_norm(x, dim=(1, 2)))]
    last, back = _with_channels_last(problem)
    return [
        peer("torch", _torch_convolution(problem, *map(torch.from_numpy, (problem.x, problem.weight))), problem.back),
        peer("torch channels last", last, back),
    ]


def _torch_convolution(problem: Convolution, x: Any, weight: Any, extra: int = 0) -> Callable[[], Any]:
    """The call of PyTorch's function; `extra` spatial axes of length 1 stand in front of the others."""
    import torch

    functions = torch.nn.functional
    dimensions = problem.dimensions + extra
    stride = (*(1,) * extra, *(problem.stride,) * problem.dimensions)
    padding = (*(0,) * extra, *(problem.padding,) * problem.dimensions)
    if problem.transposed:
        transpose = getattr(functions, f"conv_transpose{dimensions}d")
        return lambda: transpose(x, weight, stride=stride, padding=padding)
    convolve = getattr(functions, f"conv{dimensions}d")
    dilation = (*(1,) * extra, *(problem.dilation,) * problem.dimensions)
    return lambda: convolve(x, weight, stride=stride, padding=padding, dilation=dilation, groups=problem.groups)


def _with_channels_last(problem: Convolution) -> tuple[Callable[[], Any], Callable[[Array], Array]]:
    """The call on tensors with channels last, and the way back from its answer.

    PyTorch has such tensors for 2 and 3 spatial axes only, so one more of length 1 is added to a single one.
    """
    import torch

    extra = int(problem.dimensions == 1)
    order = torch.channels_last_3d if problem.dimensions == 3 else torch.channels_last
    arrays = (problem.x[:, :, None], problem.weight[:, :, None]) if extra else (problem.x, problem.weight)
    x, weight = (torch.from_numpy(array).contiguous(memory_format=order) for array in arrays)
    program = _torch_convolution(problem, x, weight, extra)
    return program, lambda answer: problem.back(answer[:, :, 0] if extra else answer)


def _in_onnxruntime(problem: Problem, threads: int) -> list[Peer]:
    if isinstance(problem, Matmul):
        session = _session("MatMul", {"A": problem.a, "B": problem.b}, {}, {}, threads)
        return [Peer("onnxruntime", session, lambda: session()[0])]
    if isinstance(problem, Norm):
        session = _session("ReduceL2", {"X": problem.x}, {}, {"axes": [1, 2], "keepdims": 0}, threads)
        return [Peer("onnxruntime", session, lambda: session()[0])]
    many = problem.dimensions
    attributes: dict[str, Any] = {"strides": [problem.stride] * many, "pads": [problem.padding] * 2 * many}
    if not problem.transposed:
        attributes |= {"dilations": [problem.dilation] * many, "group": problem.groups}
    operator = "ConvTranspose" if problem.transposed else "Conv"
    session = _session(operator, {"X": problem.x}, {"W": problem.weight}, attributes, threads)
    return [Peer("onnxruntime", session, lambda: problem.back(session()[0]))]


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
