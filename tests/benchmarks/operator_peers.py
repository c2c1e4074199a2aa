"""What people would use instead of a tuned kernel: the paper's workloads in NumPy, PyTorch and ONNX Runtime.

Each library's peers work on arrays that were laid out for them beforehand: both channel orders for PyTorch, and blocks
of channels as oneDNN makes them where our kernels may have such too; channels first for ONNX Runtime (which takes no
other), weights as constants where the library can prepare constants. `result`
brings a peer's answer back to the layout of the workload, to compare. What is several operators to a library is also
tried as `torch.compile` fuses it, with frozen weights, where there is time for that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tests.benchmarks.peer_problems import PROBLEMS, Array, Convolution, Matmul, Norm, Problem, Scores

LIBRARIES = ("numpy", "torch", "onnxruntime")
RESULT = "Y"  # in ONNX
Operator = tuple[str, list[str], str, dict[str, Any]]  # of ONNX: its name, what it reads and writes, attributes


@dataclass(frozen=True)
class Peer:
    """A library's program for one case; `result` runs it once and returns the workload's output.

    task: the definition of the case that it computes, where that says more than the case.
    """

    name: str
    run: Callable[[], Any]
    result: Callable[[], Array]
    task: str = ""


def peers_of(
    library: str,
    family: str,
    numbers: Sequence[int],
    arrays: Sequence[Array],
    threads: int,
    *,
    compiled: bool = False,
) -> list[Peer]:
    """A library's peers of one case, on the workload's own input arrays; none where it has no such operator.

    compiled: also what a library's compiler makes of several operators, which takes it many seconds.
    Raises: ValueError: a family or a library without peers; ImportError: the library is not installed.
    """
    if family not in PROBLEMS:
        raise ValueError(f"no peers for {family!r}; there are some for {', '.join(PROBLEMS)}")
    if library not in LIBRARIES:
        raise ValueError(f"no library {library!r}; there are {', '.join(LIBRARIES)}")
    problem = PROBLEMS[family](numbers, arrays)
    if library == "numpy":
        return _in_numpy(problem)
    return _in_torch(problem, threads, compiled) if library == "torch" else _in_onnxruntime(problem, threads)


def _in_numpy(problem: Problem) -> list[Peer]:
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
    if isinstance(problem, Scores):
        attention = _numpy_scores(problem)
        return [Peer("numpy", attention, attention)]
    return []


def _numpy_scores(problem: Scores) -> Callable[[], Array]:
    """Every step into arrays that are there already; a matrix product takes the turned arrays as they lie."""
    left, right = problem.query.transpose(0, 2, 1, 3), problem.key.transpose(0, 2, 3, 1)
    scores = np.empty((*left.shape[:3], right.shape[-1]), np.float32)
    row = np.empty((*left.shape[:3], 1), np.float32)

    def run() -> Array:
        np.matmul(left, right, out=scores)
        np.subtract(scores, np.max(scores, axis=-1, keepdims=True, out=row), out=scores)
        np.exp(scores, out=scores)
        return np.divide(scores, np.sum(scores, axis=-1, keepdims=True, out=row), out=scores)

    return run


def _in_torch(problem: Problem, threads: int, compiled: bool) -> list[Peer]:
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
    if isinstance(problem, Scores):
        pair = torch.from_numpy(problem.query), torch.from_numpy(problem.key)
        peers = [peer("torch", lambda: _torch_scores(*pair))]
        return peers + ([peer("torch.compile", _frozen(_torch_scores, pair))] if compiled else [])
    first, constants = _torch_convolution(problem), [torch.from_numpy(problem.weight), _torch_bias(problem)]
    source = torch.from_numpy(problem.x)
    last, image, ordered, back = _with_channels_last(problem)
    peers = [
        peer("torch", lambda: first(source, *constants), problem.back),
        peer("torch channels last", lambda: last(image, *ordered), back),
    ]
    if problem.dimensions == 2 and problem.groups in (1, problem.x.shape[1]) and problem.dilation == 1:
        if not (problem.transposed or problem.relu):
            blocked = peer("torch blocked", _with_blocked_channels(problem))
            peers.append(replace(blocked, result=lambda: problem.back(blocked.run().to_dense().numpy())))
    return peers + ([peer("torch.compile", _frozen(last, [image], ordered), back)] if compiled and problem.relu else [])


def _torch_scores(query: Any, key: Any) -> Any:
    import torch

    return torch.softmax(torch.matmul(query.transpose(1, 2), key.permute(0, 2, 3, 1)), dim=-1)


def _torch_bias(problem: Convolution) -> Any:
    import torch

    return None if problem.bias is None else torch.from_numpy(problem.bias)


def _torch_convolution(problem: Convolution, extra: int = 0) -> Callable[[Any, Any, Any], Any]:
    """PyTorch's function of input, weight and bias; `extra` spatial axes of length 1 stand in front of the others."""
    import torch

    functions = torch.nn.functional
    dimensions = problem.dimensions + extra
    options: dict[str, Any] = {
        "stride": (*(1,) * extra, *(problem.stride,) * problem.dimensions),
        "padding": (*(0,) * extra, *(problem.padding,) * problem.dimensions),
    }
    if problem.transposed:
        convolve = getattr(functions, f"conv_transpose{dimensions}d")
    else:
        convolve = getattr(functions, f"conv{dimensions}d")
        dilation = (*(1,) * extra, *(problem.dilation,) * problem.dimensions)
        options |= {"dilation": dilation, "groups": problem.groups}
    if problem.relu:
        return lambda x, weight, bias: torch.relu_(convolve(x, weight, bias, **options))
    return lambda x, weight, bias: convolve(x, weight, bias, **options)


def _with_channels_last(problem: Convolution) -> tuple[Callable[..., Any], Any, list[Any], Callable[[Array], Array]]:
    """The function, its input with channels last, the weight likewise and the bias, and the way back from its answer.

    PyTorch has such tensors for 2 and 3 spatial axes only, so one more of length 1 is added to a single one.
    """
    import torch

    extra = int(problem.dimensions == 1)
    order = torch.channels_last_3d if problem.dimensions == 3 else torch.channels_last
    arrays = (problem.x[:, :, None], problem.weight[:, :, None]) if extra else (problem.x, problem.weight)
    x, weight = (torch.from_numpy(array).contiguous(memory_format=order) for array in arrays)
    program = _torch_convolution(problem, extra)
    return program, x, [weight, _torch_bias(problem)], lambda y: problem.back(y[:, :, 0] if extra else y)


def _with_blocked_channels(problem: Convolution) -> Callable[[], Any]:
    """The function of an input and a weight in whatever order oneDNN takes by itself."""
    import torch

    convolve, sides = torch.nn.functional.conv2d, (problem.padding,) * 2
    x, weight = torch.from_numpy(problem.x), torch.from_numpy(problem.weight)
    steps = (problem.stride,) * 2
    with torch.inference_mode():
        same = torch.eye(x.shape[1])[:, :, None, None].to_mkldnn()
        image = convolve(x.to_mkldnn(), same)  # an answer of oneDNN is in its own order
        ordered = torch._C._nn.mkldnn_reorder_conv2d_weight(
            weight.to_mkldnn(), sides, steps, (1, 1), problem.groups, list(x.shape)
        )
    bias = _torch_bias(problem)
    return lambda: convolve(image, ordered, bias, steps, sides, 1, problem.groups)


def _frozen(function: Callable[..., Any], inputs: Sequence[Any], constants: Sequence[Any] = ()) -> Callable[[], Any]:
    """The call `function(*inputs, *constants)` as PyTorch compiles it when the constants may be prepared."""
    import torch

    class Module(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.held = torch.nn.ParameterList(torch.nn.Parameter(value, requires_grad=False) for value in constants)

        def forward(self, *values: Any) -> Any:
            return function(*values, *self.held)

    torch._inductor.config.freezing = True
    torch._dynamo.reset()  # cases before this one count against a limit, and make sizes symbols
    module = torch.compile(Module().eval())
    return lambda: module(*inputs)


def _in_onnxruntime(problem: Problem, threads: int) -> list[Peer]:
    if isinstance(problem, Matmul):
        session = _session([("MatMul", ["A", "B"], RESULT, {})], {"A": problem.a, "B": problem.b}, {}, threads)
        return [Peer("onnxruntime", session, lambda: session()[0])]
    if isinstance(problem, Norm):
        norm: Operator = ("ReduceL2", ["X"], RESULT, {"axes": [1, 2], "keepdims": 0})
        session = _session([norm], {"X": problem.x}, {}, threads)
        return [Peer("onnxruntime", session, lambda: session()[0])]
    if isinstance(problem, Scores):
        nodes: list[Operator] = [
            ("Transpose", ["Q"], "left", {"perm": [0, 2, 1, 3]}),
            ("Transpose", ["K"], "right", {"perm": [0, 2, 3, 1]}),
            ("MatMul", ["left", "right"], "scores", {}),
            ("Softmax", ["scores"], RESULT, {"axis": -1}),
        ]
        session = _session(nodes, {"Q": problem.query, "K": problem.key}, {}, threads)
        return [Peer("onnxruntime", session, lambda: session()[0])]
    many = problem.dimensions
    attributes: dict[str, Any] = {"strides": [problem.stride] * many, "pads": [problem.padding] * 2 * many}
    if not problem.transposed:
        attributes |= {"dilations": [problem.dilation] * many, "group": problem.groups}
    constants = {"W": problem.weight} | ({} if problem.bias is None else {"B": problem.bias})
    result = "sums" if problem.relu else RESULT
    nodes = [("ConvTranspose" if problem.transposed else "Conv", ["X", *constants], result, attributes)]
    nodes += [("Relu", [result], RESULT, {})] if problem.relu else []
    session = _session(nodes, {"X": problem.x}, constants, threads)
    return [Peer("onnxruntime", session, lambda: problem.back(session()[0]))]


def _session(
    operators: Sequence[Operator], inputs: dict[str, Array], constants: dict[str, Array], threads: int
) -> Callable[[], list[Array]]:
    """Some operators in ONNX Runtime, of which the last gives the result."""
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    graph = helper.make_graph(
        [helper.make_node(name, read, [written], **attributes) for name, read, written, attributes in operators],
        "peer",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, array.shape) for name, array in inputs.items()],
        [helper.make_tensor_value_info(RESULT, TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, inputs)
