"""The operators and subgraphs of the paper's evaluation, with their shapes, as compute DAGs.

Paper: Ansor §7

`parse_workload("C2D:14,14,256,256,3,1,1")` is how the command line names one; the numbers are the fields that the
paper's tables give, in their order. `PAPER_OPERATORS` and `PAPER_SUBGRAPHS` name the rows of §7.1 and §7.2; every row
has four shapes, each with batch 1 and batch 16. Where the paper's appendix and its published workloads differ:

- GRP, first shape: the appendix repeats (224, 224, 3, 64, 7, 2, 3), whose three channels do not make four groups; the
  published code has (56, 56, 64, 128, 3, 2, 1), which is used here.
- NRM, last shape: (4096, 4096) in the appendix, (4096, 1024) in the code, used here; `PAPER_MISPRINTS` keeps the other.
- ConvLayer, second shape: (56, 56, 64, 64, 3, 2, 1) in the appendix, used here; the code has 128 channels out.
- TBS is two transposes, a batched matmul and softmax in the paper; the code's TBG leaves the softmax out.
- softmax as an operator of its own occurs in the code only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ansor_mini import workload_tensors as tensors
from ansor_mini.blocked_tensors import C2D_NCHW16C, DEP_NCHW16C, Alternative, blocked_convolution, blocked_depthwise
from ansor_mini.compute_dag import ComputeDAG
from ansor_mini.tensor_expression import Tensor
from ansor_mini.winograd import winograd


@dataclass(frozen=True)
class Workload:
    """A family of workloads: how to build one, what its numbers mean, and the shapes that the paper uses.

    constants: the inputs that are weights; they stay the same between calls, so their layout is free.
    alternatives: other workloads that compute the same from arrays in another order.
    """

    name: str
    fields: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    build: Callable[..., Tensor]
    constants: tuple[str, ...] = ()
    alternatives: tuple[Alternative, ...] = ()

    def dag(self, *numbers: int, batch: int = 1) -> ComputeDAG:
        """Build the workload of one shape.

        Raises: ValueError: a number is missing or below what it may be.
        """
        if len(numbers) != len(self.fields):
            raise ValueError(
                f"{self.name} needs {len(self.fields)} numbers ({','.join(self.fields)}), got {len(numbers)}"
            )
        for field, number in zip(self.fields, numbers):
            if number < (0 if field == "padding" else 1):
                raise ValueError(f"{self.name}: {field} must be positive, got {number}")
        return ComputeDAG([self.build(batch, *numbers)])


_CONV2D = (
    (224, 224, 3, 64, 7, 2, 3),
    (56, 56, 64, 64, 1, 1, 0),
    (14, 14, 256, 256, 3, 1, 1),
    (7, 7, 512, 512, 3, 1, 1),
)
_DEPTHWISE = ((112, 112, 32, 3, 1, 1), (112, 112, 64, 3, 2, 1), (14, 14, 512, 3, 2, 1), (7, 7, 1024, 3, 1, 1))
_CONV_FIELDS = ("h", "w", "ci", "co", "kernel", "stride", "padding")
_CHANNEL_FIELDS = ("h", "w", "c", "kernel", "stride", "padding")

_WEIGHT = ("W",)

_TABLE = (
    Workload(
        "matmul",
        ("n", "m", "k"),
        ((128, 128, 128), (512, 32, 512), (512, 512, 512), (1024, 1024, 1024)),
        tensors.matmul,
    ),
    Workload(
        "C1D",
        ("w", "ci", "co", "kernel", "stride", "padding"),
        ((256, 64, 128, 3, 2, 1), (128, 128, 256, 1, 2, 0), (64, 256, 256, 5, 1, 2), (32, 512, 512, 3, 1, 1)),
        lambda n, w, *rest: tensors.convolution(n, (w,), *rest),
        _WEIGHT,
    ),
    Workload(
        "C2D",
        _CONV_FIELDS,
        _CONV2D,
        lambda n, h, w, *rest: tensors.convolution(n, (h, w), *rest),
        _WEIGHT,
        (C2D_NCHW16C,),
    ),
    Workload(
        "C3D",
        ("d", *_CONV_FIELDS),
        tuple((16, *shape) for shape in _CONV2D),
        lambda n, d, h, w, *rest: tensors.convolution(n, (d, h, w), *rest),
        _WEIGHT,
    ),
    Workload(
        "GRP",
        _CONV_FIELDS,
        ((56, 56, 64, 128, 3, 2, 1), *_CONV2D[1:]),
        lambda n, h, w, *rest: tensors.convolution(n, (h, w), *rest, groups=4),
        _WEIGHT,
    ),
    Workload(
        "DIL",
        _CONV_FIELDS,
        _CONV2D,
        lambda n, h, w, *rest: tensors.convolution(n, (h, w), *rest, dilation=2),
        _WEIGHT,
    ),
    Workload(
        "DEP",
        _CHANNEL_FIELDS,
        _DEPTHWISE,
        tensors.depthwise,
        _WEIGHT,
        (DEP_NCHW16C,),
    ),
    Workload(
        "T2D",
        _CONV_FIELDS,
        ((4, 4, 512, 256, 4, 2, 1), (8, 8, 256, 128, 4, 2, 1), (16, 16, 128, 64, 4, 2, 1), (32, 32, 64, 3, 4, 2, 1)),
        tensors.transposed,
        _WEIGHT,
    ),
    Workload(
        "CAP",
        _CONV_FIELDS,
        ((16, 16, 32, 32, 3, 2, 1), (8, 8, 32, 32, 3, 1, 1), (16, 16, 8, 16, 3, 2, 1), (8, 8, 16, 16, 3, 1, 1)),
        tensors.capsule,
        _WEIGHT,
    ),
    Workload("NRM", ("rows", "columns"), ((256, 256), (512, 512), (1024, 1024), (4096, 1024)), tensors.norm),
    Workload(
        "softmax",
        ("rows", "columns"),
        ((256, 256), (512, 512), (1024, 1024), (2048, 2048)),
        tensors.softmax_rows,
    ),
    Workload(
        "ConvLayer",
        _CONV_FIELDS,
        ((224, 224, 3, 64, 7, 2, 3), (56, 56, 64, 64, 3, 2, 1), (28, 28, 128, 256, 1, 2, 0), (7, 7, 512, 512, 3, 1, 1)),
        tensors.conv_layer,
        ("W", "scale", "shift"),
    ),
    Workload(
        "TBS",
        ("length", "heads", "size"),
        ((128, 12, 64), (128, 16, 64), (64, 12, 128), (128, 12, 128)),
        tensors.attention,
    ),
    # The same convolutions with sixteen channels innermost.
    Workload("C2D_NCHW16c", _CONV_FIELDS, _CONV2D, blocked_convolution, _WEIGHT),
    Workload("DEP_NCHW16c", _CHANNEL_FIELDS, _DEPTHWISE, blocked_depthwise, _WEIGHT),
    # Not in the paper's tables: the other computations that the published code counts the sketches of.
    Workload("matmuls", ("n", "m", "k", "p"), ((512, 512, 512, 512),), tensors.two_matmuls),
    Workload("maxpool", _CHANNEL_FIELDS, ((56, 56, 512, 2, 1, 1),), tensors.max_pool),
    Workload("rowmin", ("rows", "columns"), ((10, 1024),), tensors.row_minimum),
    Workload("softmax4d", ("heads", "rows", "columns"), ((12, 128, 128),), tensors.softmax_4d),
    Workload("total", ("length",), ((128,),), tensors.total),
    Workload("winograd", ("h", "w", "ci", "co", "padding", "tile"), ((28, 28, 128, 128, 1, 4),), winograd, _WEIGHT),
)
PAPER_OPERATORS = ("C1D", "C2D", "C3D", "matmul", "GRP", "DIL", "DEP", "T2D", "CAP", "NRM")
PAPER_SUBGRAPHS = ("ConvLayer", "TBS")
PAPER_MISPRINTS = {"NRM": (4096, 4096)}  # what the appendix prints, where that can be built
WORKLOADS = {workload.name: workload for workload in _TABLE}
ALIASES = {"gmm": "matmul", "conv1d": "C1D", "conv2d": "C2D", "conv3d": "C3D", "conv_layer": "ConvLayer"}


def parse_workload(text: str, *, batch: int = 1) -> ComputeDAG:
    """Build the workload that a text like `matmul:512,512,512` names.

    Raises: ValueError: an unknown name, or numbers that do not fit; the message shows what would.

    >>> parse_workload("matmul:4,8,16").flops
    1024
    """
    name, _, rest = text.partition(":")
    known = {key.lower(): workload for key, workload in WORKLOADS.items()}
    workload = known.get(ALIASES.get(name.lower(), name).lower())
    if workload is None:
        raise ValueError(f"unknown workload {name!r}; known: {', '.join(WORKLOADS)}, for example matmul:512,512,512")
    try:
        numbers = [int(number) for number in rest.split(",") if number]
    except ValueError:
        raise ValueError(f"{name}: expected integers like {','.join(workload.fields)}, got {rest!r}") from None
    return workload.dag(*numbers, batch=batch)
