"""The operators and subgraphs of the paper's evaluation, with their shapes, as compute DAGs.

Paper: Ansor §7

All are channels last, float32, with padding as a stage of its own. `parse_workload("C2D:14,14,256,256,3,1,1")` is how
the command line names one; the numbers are the fields that the paper's tables give, in their order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ansor_mini.compute_dag import ComputeDAG
from ansor_mini.tensor_expression import Tensor, compute, placeholder, reduce_axis, reduce_max, reduce_sum
from runtime.expr import Const, Expr, call, equal, maximum, select


@dataclass(frozen=True)
class Workload:
    """A family of workloads: how to build one, what its numbers mean, and the shapes that the paper uses."""

    name: str
    fields: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    build: Callable[..., Tensor]

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


def matmul(batch: int, n: int, m: int, k: int) -> Tensor:
    """C[n, m] = Σ_k A[n, k] · B[k, m]; a batch above 1 adds a leading axis to all three."""
    lead = (batch,) if batch > 1 else ()
    a, b = placeholder((*lead, n, k), "A"), placeholder((*lead, k, m), "B")
    axis = reduce_axis(k, "k")
    names = ("b", "i", "j") if lead else ("i", "j")

    def body(*at: Expr) -> Expr:
        *outer, i, j = at
        left, right = (*outer, i, axis), (*outer, axis, j)
        return reduce_sum(a[left] * b[right], (axis,))

    return compute((*lead, n, m), body, "C", axes=names)


def pad_spatial(x: Tensor, padding: int, axes: Sequence[str]) -> Tensor:
    """Surround the inner axes (all but batch and channel) with zeros."""
    if not padding:
        return x
    shape = (x.shape[0], *(extent + 2 * padding for extent in x.shape[1:-1]), x.shape[-1])

    def body(n: Expr, *rest: Expr) -> Expr:
        *spatial, c = rest
        inside: Expr | None = None
        for index, extent in zip(spatial, x.shape[1:-1]):
            within = (index >= padding) & (index < extent + padding)
            inside = within if inside is None else inside & within
        assert inside is not None
        source = (n, *(index - padding for index in spatial), c)
        return select(inside, x[source], 0.0)

    return compute(shape, body, "pad", axes=axes)


def convolution(
    batch: int,
    sizes: Sequence[int],
    ci: int,
    co: int,
    kernel: int,
    stride: int,
    padding: int,
    *,
    dilation: int = 1,
    groups: int = 1,
) -> Tensor:
    """Convolution over any number of spatial axes: X[n, *sizes, ci] and W[*kernel, ci / groups, co]."""
    if ci % groups or co % groups:
        raise ValueError(f"groups={groups} must divide the channels, got ci={ci} and co={co}")
    spatial = ("w",) if len(sizes) == 1 else ("h", "w") if len(sizes) == 2 else ("d", "h", "w")
    axes = ("n", *spatial, "c")
    x = pad_spatial(placeholder((batch, *sizes, ci), "X"), padding, axes)
    weight = placeholder((*(kernel,) * len(sizes), ci // groups, co), "W")
    taps = [reduce_axis(kernel, f"k{name}") for name in spatial]
    channel = reduce_axis(ci // groups, "ci")
    reach = dilation * (kernel - 1) + 1
    shape = (batch, *((extent + 2 * padding - reach) // stride + 1 for extent in sizes), co)

    def body(n: Expr, *rest: Expr) -> Expr:
        *at, c = rest
        where = tuple(index * stride + tap * dilation for index, tap in zip(at, taps))
        source = channel if groups == 1 else c // (co // groups) * (ci // groups) + channel
        place, tap = (n, *where, source), (*taps, channel, c)
        return reduce_sum(x[place] * weight[tap], (*taps, channel))

    return compute(shape, body, "conv", axes=axes)


def depthwise(batch: int, h: int, w: int, c: int, kernel: int, stride: int, padding: int) -> Tensor:
    """Each channel is convolved with its own kernel: X[n, h, w, c] and W[kh, kw, c]."""
    x = pad_spatial(placeholder((batch, h, w, c), "X"), padding, ("n", "h", "w", "c"))
    weight = placeholder((kernel, kernel, c), "W")
    kh, kw = reduce_axis(kernel, "kh"), reduce_axis(kernel, "kw")
    shape = (batch, *((extent + 2 * padding - kernel) // stride + 1 for extent in (h, w)), c)

    def body(n: Expr, i: Expr, j: Expr, c: Expr) -> Expr:
        return reduce_sum(x[n, i * stride + kh, j * stride + kw, c] * weight[kh, kw, c], (kh, kw))

    return compute(shape, body, "conv", axes=("n", "h", "w", "c"))


def transposed(batch: int, h: int, w: int, ci: int, co: int, kernel: int, stride: int, padding: int) -> Tensor:
    """Transposed convolution: a tap counts where the stride divides its position; unrolling can drop the rest."""
    border = kernel - 1 - padding
    if border < 0:
        raise ValueError(f"padding must be below the kernel, got padding={padding} and kernel={kernel}")
    ring, offset = -(-border // stride), -border % stride
    axes = ("n", "h", "w", "c")
    x = pad_spatial(placeholder((batch, h, w, ci), "X"), ring, axes)
    weight = placeholder((kernel, kernel, ci, co), "W")
    kh, kw, rc = reduce_axis(kernel, "kh"), reduce_axis(kernel, "kw"), reduce_axis(ci, "ci")
    shape = (batch, *((extent - 1) * stride - 2 * padding + kernel for extent in (h, w)), co)

    def body(n: Expr, i: Expr, j: Expr, c: Expr) -> Expr:
        row, column = i + kh + offset, j + kw + offset
        hit = equal(row % stride, 0) & equal(column % stride, 0)
        value = select(hit, x[n, row // stride, column // stride, rc], 0.0)
        return reduce_sum(value * weight[kernel - 1 - kh, kernel - 1 - kw, rc, c], (kh, kw, rc))

    return compute(shape, body, "conv", axes=axes)


def capsule(batch: int, h: int, w: int, ci: int, co: int, kernel: int, stride: int, padding: int) -> Tensor:
    """Capsule convolution: each "pixel" and each weight is a matrix of 4 x 4, multiplied as matrices."""
    source = placeholder((batch, h, w, 4, 4, ci), "X")
    padded_h, padded_w = h + 2 * padding, w + 2 * padding

    def pad(n: Expr, i: Expr, j: Expr, a: Expr, b: Expr, c: Expr) -> Expr:
        inside = (i >= padding) & (i < h + padding) & (j >= padding) & (j < w + padding)
        return select(inside, source[n, i - padding, j - padding, a, b, c], 0.0)

    axes = ("n", "h", "w", "a", "b", "c")
    x = compute((batch, padded_h, padded_w, 4, 4, ci), pad, "pad", axes=axes) if padding else source
    weight = placeholder((kernel, kernel, 4, 4, ci, co), "W")
    kh, kw, kc, rc = (reduce_axis(n, name) for n, name in ((kernel, "kh"), (kernel, "kw"), (4, "kc"), (ci, "ci")))
    shape = (batch, (padded_h - kernel) // stride + 1, (padded_w - kernel) // stride + 1, 4, 4, co)

    def body(n: Expr, i: Expr, j: Expr, a: Expr, b: Expr, c: Expr) -> Expr:
        pixel = x[n, i * stride + kh, j * stride + kw, a, kc, rc]
        return reduce_sum(pixel * weight[kh, kw, kc, b, rc, c], (kh, kw, kc, rc))

    return compute(shape, body, "conv", axes=axes)


def norm(batch: int, rows: int, columns: int) -> Tensor:
    """The Frobenius norm of each matrix of a batch."""
    x = placeholder((batch, rows, columns), "X")
    i, j = reduce_axis(rows, "i"), reduce_axis(columns, "j")
    total = compute((batch,), lambda n: reduce_sum(x[n, i, j] * x[n, i, j], (i, j)), "squares", axes=("n",))
    return compute((batch,), lambda n: call("sqrt", total[n]), "norm", axes=("n",))


def softmax(x: Tensor) -> Tensor:
    """Softmax over the last axis, as four stages."""
    k1, k2 = reduce_axis(x.shape[-1], "r"), reduce_axis(x.shape[-1], "r")
    rows = x.shape[:-1]
    largest = compute(rows, lambda *at: reduce_max(x[at + (k1,)], (k1,)), "largest")
    powers = compute(x.shape, lambda *at: call("exp", x[at] - largest[at[:-1]]), "powers")
    total = compute(rows, lambda *at: reduce_sum(powers[at + (k2,)], (k2,)), "total")
    return compute(x.shape, lambda *at: powers[at] / total[at[:-1]], "softmax")


def softmax_rows(batch: int, rows: int, columns: int) -> Tensor:
    """Softmax over each row of a matrix; the batch multiplies the rows."""
    return softmax(placeholder((batch * rows, columns), "X"))


def conv_layer(batch: int, h: int, w: int, ci: int, co: int, kernel: int, stride: int, padding: int) -> Tensor:
    """Convolution, batch normalisation (as scale and shift per channel) and relu."""
    conv = convolution(batch, (h, w), ci, co, kernel, stride, padding)
    scale, shift = placeholder((co,), "scale"), placeholder((co,), "shift")
    axes = ("n", "h", "w", "c")
    scaled = compute(conv.shape, lambda *at: conv[at] * scale[at[-1]], "scaled", axes=axes)
    shifted = compute(conv.shape, lambda *at: scaled[at] + shift[at[-1]], "shifted", axes=axes)
    return compute(conv.shape, lambda *at: maximum(shifted[at], Const(0.0, "float32")), "relu", axes=axes)


def attention(batch: int, length: int, heads: int, size: int) -> Tensor:
    """Two transposes, a batched matmul and softmax: the scores of a transformer's attention (TBS)."""
    query, key = placeholder((batch, length, heads, size), "Q"), placeholder((batch, length, heads, size), "K")
    turned_q = compute(
        (batch, heads, length, size), lambda b, h, i, d: query[b, i, h, d], "QT", axes=("b", "h", "i", "d")
    )
    turned_k = compute(
        (batch, heads, size, length), lambda b, h, d, i: key[b, i, h, d], "KT", axes=("b", "h", "d", "i")
    )
    d = reduce_axis(size, "d")
    scores = compute(
        (batch, heads, length, length),
        lambda b, h, i, j: reduce_sum(turned_q[b, h, i, d] * turned_k[b, h, d, j], (d,)),
        "scores",
        axes=("b", "h", "i", "j"),
    )
    return softmax(scores)


_CONV2D = (
    (224, 224, 3, 64, 7, 2, 3),
    (56, 56, 64, 64, 1, 1, 0),
    (14, 14, 256, 256, 3, 1, 1),
    (7, 7, 512, 512, 3, 1, 1),
)
_CONV_FIELDS = ("h", "w", "ci", "co", "kernel", "stride", "padding")

_TABLE = (
    Workload("matmul", ("n", "m", "k"), ((128, 128, 128), (512, 32, 512), (512, 512, 512), (1024, 1024, 1024)), matmul),
    Workload(
        "C1D",
        ("w", "ci", "co", "kernel", "stride", "padding"),
        ((256, 64, 128, 3, 2, 1), (128, 128, 256, 1, 2, 0), (64, 256, 256, 5, 1, 2), (32, 512, 512, 3, 1, 1)),
        lambda n, w, *rest: convolution(n, (w,), *rest),
    ),
    Workload("C2D", _CONV_FIELDS, _CONV2D, lambda n, h, w, *rest: convolution(n, (h, w), *rest)),
    Workload(
        "C3D",
        ("d", *_CONV_FIELDS),
        tuple((16, *shape) for shape in _CONV2D),
        lambda n, d, h, w, *rest: convolution(n, (d, h, w), *rest),
    ),
    Workload(
        "GRP",
        _CONV_FIELDS,
        ((56, 56, 64, 128, 3, 2, 1), *_CONV2D[1:]),
        lambda n, h, w, *rest: convolution(n, (h, w), *rest, groups=4),
    ),
    Workload("DIL", _CONV_FIELDS, _CONV2D, lambda n, h, w, *rest: convolution(n, (h, w), *rest, dilation=2)),
    Workload(
        "DEP",
        ("h", "w", "c", "kernel", "stride", "padding"),
        ((112, 112, 32, 3, 1, 1), (112, 112, 64, 3, 2, 1), (14, 14, 512, 3, 2, 1), (7, 7, 1024, 3, 1, 1)),
        depthwise,
    ),
    Workload(
        "T2D",
        _CONV_FIELDS,
        ((4, 4, 512, 256, 4, 2, 1), (8, 8, 256, 128, 4, 2, 1), (16, 16, 128, 64, 4, 2, 1), (32, 32, 64, 3, 4, 2, 1)),
        transposed,
    ),
    Workload(
        "CAP",
        _CONV_FIELDS,
        ((16, 16, 32, 32, 3, 2, 1), (8, 8, 32, 32, 3, 1, 1), (16, 16, 8, 16, 3, 2, 1), (8, 8, 16, 16, 3, 1, 1)),
        capsule,
    ),
    Workload("NRM", ("rows", "columns"), ((256, 256), (512, 512), (1024, 1024), (4096, 1024)), norm),
    Workload("softmax", ("rows", "columns"), ((256, 256), (512, 512), (1024, 1024), (2048, 2048)), softmax_rows),
    Workload(
        "ConvLayer",
        _CONV_FIELDS,
        ((224, 224, 3, 64, 7, 2, 3), (56, 56, 64, 64, 3, 2, 1), (28, 28, 128, 256, 1, 2, 0), (7, 7, 512, 512, 3, 1, 1)),
        conv_layer,
    ),
    Workload(
        "TBS", ("length", "heads", "size"), ((128, 12, 64), (128, 16, 64), (64, 12, 128), (128, 12, 128)), attention
    ),
)
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
