"""The tensors of the paper's operators and subgraphs: what each one computes, before any shape is chosen.

Paper: Ansor §7.1, App. C

Channels last, float32, padding as a stage of its own. Inputs that hold data are called X (A and B of a matmul, Q and K
of attention); the others are weights, which do not change between calls.
"""

from __future__ import annotations

from collections.abc import Sequence

from ansor_mini.tensor_expression import (
    LOWEST,
    Tensor,
    compute,
    placeholder,
    reduce_axis,
    reduce_max,
    reduce_min,
    reduce_sum,
)
from runtime.expr import Const, Expr, call, equal, maximum, select


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


def pad_spatial(x: Tensor, padding: int, axes: Sequence[str], value: float = 0.0, *, lead: int = 1) -> Tensor:
    """Surround the inner axes (all but the first `lead` and the last) with zeros, or another value."""
    if not padding:
        return x
    extents = x.shape[lead:-1]
    shape = (*x.shape[:lead], *(extent + 2 * padding for extent in extents), x.shape[-1])

    def body(*at: Expr) -> Expr:
        outer, spatial, c = at[:lead], at[lead:-1], at[-1]
        inside: Expr | None = None
        for index, extent in zip(spatial, extents):
            within = (index >= padding) & (index < extent + padding)
            inside = within if inside is None else inside & within
        assert inside is not None
        source = (*outer, *(index - padding for index in spatial), c)
        return select(inside, x[source], value)

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


def max_pool(batch: int, h: int, w: int, c: int, kernel: int, stride: int, padding: int) -> Tensor:
    """The largest element of each window, channels last; the border never is."""
    x = pad_spatial(placeholder((batch, h, w, c), "X"), padding, ("n", "h", "w", "c"), LOWEST)
    kh, kw = reduce_axis(kernel, "kh"), reduce_axis(kernel, "kw")
    shape = (batch, *((extent + 2 * padding - kernel) // stride + 1 for extent in (h, w)), c)

    def body(n: Expr, i: Expr, j: Expr, c: Expr) -> Expr:
        return reduce_max(x[n, i * stride + kh, j * stride + kw, c], (kh, kw))

    return compute(shape, body, "pool", axes=("n", "h", "w", "c"))


def row_minimum(batch: int, rows: int, columns: int) -> Tensor:
    """The smallest element of each row; the batch multiplies the rows."""
    x, k = placeholder((batch * rows, columns), "X"), reduce_axis(columns, "k")
    return compute((batch * rows,), lambda i: reduce_min(x[i, k], k), "smallest")


def total(batch: int, length: int) -> Tensor:
    """The sum of a vector, or of a batch of them as one, as a tensor without axes."""
    x, k = placeholder((batch * length,), "X"), reduce_axis(batch * length, "k")
    return compute((), lambda: reduce_sum(x[k], k), "total")


def two_matmuls(batch: int, n: int, m: int, k: int, p: int) -> Tensor:
    """(A · B) · D with A[n, k], B[k, m] and D[m, p]; the batch multiplies the rows."""
    rows = batch * n
    a, b, d = placeholder((rows, k), "A"), placeholder((k, m), "B"), placeholder((m, p), "D")
    inner, outer = reduce_axis(k, "k"), reduce_axis(m, "k")
    c = compute((rows, m), lambda i, j: reduce_sum(a[i, inner] * b[inner, j], inner), "C")
    return compute((rows, p), lambda i, j: reduce_sum(c[i, outer] * d[outer, j], outer), "E")


def softmax_4d(batch: int, heads: int, rows: int, columns: int) -> Tensor:
    """Softmax over the last axis of a tensor with four, as in attention."""
    return softmax(placeholder((batch, heads, rows, columns), "X"))
