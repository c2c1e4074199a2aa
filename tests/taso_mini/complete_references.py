"""The complete networks of Ansor's evaluation once more, in plain NumPy, sharing no code with their graphs.

Every function keeps what its layers compute by the name of the graph's value, so that networks are compared layer by
layer.
"""

from __future__ import annotations

import itertools
import math

import numpy as np

from tests.taso_mini.plain_layers import Array, Reference, relu


def convolution(x: Array, w: Array, strides: tuple[int, ...]) -> Array:
    """Any number of dimensions; half of the window as padding on both sides."""
    kernel = w.shape[2:]
    padded = np.pad(x, [(0, 0), (0, 0), *((n // 2, n // 2) for n in kernel)])
    out = [(n + 2 * (k // 2) - k) // s + 1 for n, k, s in zip(x.shape[2:], kernel, strides, strict=True)]
    y = np.zeros((len(x), len(w), *out))
    for place in itertools.product(*map(range, out)):
        box = tuple(slice(i * s, i * s + k) for i, s, k in zip(place, strides, kernel, strict=True))
        y[(..., *place)] = np.tensordot(
            padded[(slice(None), slice(None), *box)],
            w,
            axes=(range(1, x.ndim), range(1, x.ndim)),
        )
    return y


def resnet3d_18(net: Reference, data: Array) -> Array:
    def conv(x: Array, name: str, strides: tuple[int, ...]) -> Array:
        y = net.keep(name, convolution(x, net[f"{name}_w"], strides))
        return net.keep(f"{name}_biased", y + net[f"{name}_b"])

    x = net.keep("stem_relu", relu(conv(data, "stem", (1, 2, 2))))
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1), (1, 1)), constant_values=-np.inf)
    out = [(n - 1) // 2 + 1 for n in x.shape[2:]]
    x = np.empty((*x.shape[:2], *out))
    for d, h, w in itertools.product(*map(range, out)):
        box = padded[:, :, 2 * d : 2 * d + 3, 2 * h : 2 * h + 3, 2 * w : 2 * w + 3]
        x[:, :, d, h, w] = box.max((2, 3, 4))
    net.keep("stem_pool", x)
    for stage, number in itertools.product(range(1, 5), range(2)):
        name, strides = f"block{stage}_{number}", (2, 2, 2) if stage > 1 and number == 0 else (1, 1, 1)
        y = net.keep(f"{name}_first_relu", relu(conv(x, f"{name}_first", strides)))
        y = conv(y, f"{name}_second", (1, 1, 1))
        if x.shape != y.shape:
            x = conv(x, f"{name}_shortcut", strides)
        x = net.keep(f"{name}_relu", relu(x + y))
    x = net.keep("pool", x.mean((2, 3, 4)))
    logits = x @ net["classifier_w"] + net["classifier_b"]
    powers = np.exp(logits)
    return powers / powers.sum(1, keepdims=True)


def dcgan(net: Reference, noise: Array, channels: int) -> Array:
    x = net.keep("project_relu", relu(noise @ net["project_w"] + net["project_b"]))
    x = x.reshape(len(noise), channels, 4, 4)
    for stage in itertools.count(1):
        w = net[f"up{stage}_w"]
        size = 2 * x.shape[2]
        whole = np.zeros((len(x), w.shape[1], size + 2, size + 2))
        for i, j in itertools.product(range(x.shape[2]), repeat=2):
            whole[:, :, 2 * i : 2 * i + 4, 2 * j : 2 * j + 4] += np.einsum("nc,cokl->nokl", x[:, :, i, j], w)
        y = net.keep(f"up{stage}", whole[:, :, 1:-1, 1:-1]) + net[f"up{stage}_b"]
        if w.shape[1] == 3:
            return np.tanh(y)
        x = net.keep(f"up{stage}_relu", relu(y))
    raise AssertionError("the last stage has three channels")


def bert_base(net: Reference, embeddings: Array, layers: int, heads: int) -> tuple[Array, Array]:
    erf = np.vectorize(math.erf)

    def linear(x: Array, name: str) -> Array:
        return x @ net[f"{name}_w"] + net[f"{name}_b"]

    def normalized(x: Array, name: str) -> Array:
        y = np.empty_like(x)
        for at in np.ndindex(*x.shape[:-1]):
            row = x[at]
            y[at] = (row - row.mean()) / math.sqrt(row.var() + 1e-12) * net[f"{name}_w"] + net[f"{name}_b"]
        return net.keep(f"{name}_biased", y)

    x = normalized(embeddings, "embeddings_norm")
    for number in range(layers):
        name, size = f"layer{number}", x.shape[2] // heads
        q, k, v = (net.keep(f"{name}_{role}_biased", linear(x, f"{name}_{role}")) for role in "qkv")
        mixed = np.empty_like(x)
        for n, head in itertools.product(range(len(x)), range(heads)):
            at = n, slice(None), slice(head * size, (head + 1) * size)
            scores = np.exp(q[at] @ k[at].T / math.sqrt(size))
            mixed[at] = scores / scores.sum(1, keepdims=True) @ v[at]
        net.keep(f"{name}_rows", mixed)
        x = normalized(x + linear(mixed, f"{name}_out"), f"{name}_norm1")
        wide = linear(x, f"{name}_wide")
        wide = net.keep(f"{name}_wide_gelu", wide * 0.5 * (1 + erf(wide / math.sqrt(2))))
        x = normalized(x + linear(wide, f"{name}_narrow"), f"{name}_norm2")
    return x, np.tanh(linear(x[:, 0], "pooler"))
