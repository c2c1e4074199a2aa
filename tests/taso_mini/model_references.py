"""The built-in networks once more: plain NumPy functions of inputs and weights, written from the papers' figures.

They share no code with the graphs they check, and every network is a function that reads weights by name. What layers
compute is kept by the name of the graph's value.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tests.taso_mini.complete_references import bert_base, dcgan, resnet3d_18
from tests.taso_mini.plain_layers import Array, Reference, avg_pool, max_pool, relu, sigmoid


def residual(net: Reference, x: Array, name: str, middle: str, stride: int) -> Array:
    y = net.conv(net.conv(x, f"{name}_reduce"), f"{name}_{middle}", stride)
    y = net.conv(y, f"{name}_expand", relu=False)
    if x.shape != y.shape:
        x = net.conv(x, f"{name}_shortcut", stride)
    return relu(x + y)


def resnet50(net: Reference, data: Array, repeats: tuple[int, ...]) -> Array:
    for stage, blocks in enumerate(repeats, 1):
        for number in range(blocks):
            data = residual(net, data, f"block{stage}_{number}", "middle", 2 if stage > 1 and number == 0 else 1)
    return data


def resnext50(net: Reference, data: Array, repeats: tuple[int, ...]) -> Array:
    x = max_pool(net.conv(data, "stem", 2), 3, 2)
    for stage, blocks in enumerate(repeats, 1):
        for number in range(blocks):
            x = residual(net, x, f"block{stage}_{number}", "grouped", 2 if stage > 1 and number == 0 else 1)
    return x


def nasnet_a(net: Reference, data: Array, stages: int, cells: int) -> Array:
    def sep(x: Array, name: str, stride: int = 1) -> Array:
        return net.conv(net.conv(x, f"{name}_depthwise", stride, relu=False), f"{name}_pointwise", relu=False)

    x = max_pool(net.conv(data, "stem", 2), 3, 2)
    for stage in range(1, stages + 1):
        previous = x
        for number in range(cells):
            name = f"cell{stage}_{number}"
            h, p = net.conv(x, f"{name}_squeeze"), net.conv(previous, f"{name}_fit")
            sums = [
                sep(h, f"{name}_0a") + h,
                sep(p, f"{name}_1a") + sep(h, f"{name}_1b"),
                avg_pool(h, 3) + p,
                2 * avg_pool(p, 3),
                sep(p, f"{name}_4a") + sep(p, f"{name}_4b"),
            ]
            x, previous = np.concatenate(sums, 1), x
        name = f"reduce{stage}"
        h, p = net.conv(x, f"{name}_squeeze"), net.conv(previous, f"{name}_fit")
        o0 = sep(p, f"{name}_0a", 2) + sep(h, f"{name}_0b", 2)
        o1 = max_pool(h, 3, 2) + sep(p, f"{name}_1b", 2)
        o2 = avg_pool(h, 3, 2) + sep(p, f"{name}_2b", 2)
        o3 = max_pool(h, 3, 2) + sep(o0, f"{name}_3b")
        x = np.concatenate([o0, o1, o2, o3, avg_pool(o0, 3) + o1], 1)
    return x


def nasrnn(net: Reference, *inputs: Array) -> Array:
    state = net["state"]
    for step, x in enumerate(inputs):
        t = [net.dense(x, f"step{step}_t{i}_x") + net.dense(state, f"step{step}_t{i}_h") for i in range(8)]
        m0 = relu(t[0]) + sigmoid(t[3])
        m1 = sigmoid(t[1]) + np.tanh(t[2])
        m2 = sigmoid(t[4]) * np.tanh(t[5])
        m3 = sigmoid(t[6]) * relu(t[7])
        m4 = sigmoid(m1) + np.tanh(m2)
        m5 = np.tanh(m0) * np.tanh(m3)
        state = np.tanh(np.tanh(m4) * np.tanh(m5))
    return state


def bert(net: Reference, data: Array, layers: int, heads: int, sequence: int, softmax: bool) -> Array:
    x = relu(data)
    for number in range(layers):
        q, k, v = (net.dense(x, f"layer{number}_{role}") for role in "qkv")
        mixed, size = np.empty_like(x), x.shape[1] // heads
        for start in range(0, len(x), sequence):
            for head in range(heads):
                at = slice(start, start + sequence), slice(head * size, (head + 1) * size)
                scores = q[at] @ k[at].T
                if softmax:
                    scores = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
                mixed[at] = scores @ v[at]
        x = net.dense(mixed, f"layer{number}_out")
    return x


def inception_v3(net: Reference, data: Array) -> Array:
    def chain(x: Array, name: str, steps: int, last_stride: int = 1) -> Array:
        for i in range(steps):
            strided = last_stride > 1 and i == steps - 1
            x = net.conv(x, f"{name}_{i}", last_stride if strided else 1, same=not strided)
        return x

    x = net.conv(net.conv(data, "stem0_0", 2, same=False), "stem1_0", same=False)
    x = max_pool(net.conv(x, "stem2_0"), 3, 2, same=False)
    x = net.conv(net.conv(x, "stem3_0"), "stem4_0", same=False)
    x = max_pool(x, 3, 2, same=False)
    for name in ("a0", "a1", "a2"):
        parts = [chain(x, f"{name}_one", 1), chain(x, f"{name}_five", 2), chain(x, f"{name}_three", 3)]
        x = np.concatenate([*parts, chain(avg_pool(x, 3), f"{name}_pooled", 1)], 1)
    x = np.concatenate([chain(x, "b_three", 1, 2), chain(x, "b_double", 3, 2), max_pool(x, 3, 2, same=False)], 1)
    for name in ("c0", "c1", "c2", "c3"):
        parts = [chain(x, f"{name}_one", 1), chain(x, f"{name}_seven", 3), chain(x, f"{name}_double", 5)]
        x = np.concatenate([*parts, chain(avg_pool(x, 3), f"{name}_pooled", 1)], 1)
    x = np.concatenate([chain(x, "d_three", 2, 2), chain(x, "d_seven", 4, 2), max_pool(x, 3, 2, same=False)], 1)
    for name in ("e0", "e1"):
        three, double = chain(x, f"{name}_three", 1), chain(x, f"{name}_double", 2)
        parts = [chain(x, f"{name}_one", 1)]
        for stem, value in (("three", three), ("double", double)):
            parts += [chain(value, f"{name}_{stem}_{way}", 1) for way in ("wide", "tall")]
        x = np.concatenate([*parts, chain(avg_pool(x, 3), f"{name}_pooled", 1)], 1)
    return x.mean((2, 3), keepdims=True)


def squeezenet_bypass(net: Reference, data: Array) -> Array:
    x = max_pool(net.conv(data, "conv1", 2), 3, 2, same=False)
    for number in range(2, 12):
        name = f"fire{number}"
        if number in (5, 10):
            x = max_pool(x, 3, 2, same=False)
            continue
        narrow = net.conv(x, f"{name}_squeeze")
        wide = np.concatenate([net.conv(narrow, f"{name}_expand3"), net.conv(narrow, f"{name}_expand1")], 1)
        x = wide + (x if x.shape == wide.shape else net.conv(x, f"{name}_bypass"))
    return net.conv(x, "conv10").mean((2, 3), keepdims=True)


REFERENCES: dict[str, Callable[..., Array | tuple[Array, ...]]] = {
    "resnet50": resnet50,
    "resnext50": resnext50,
    "nasnet_a": nasnet_a,
    "nasrnn": nasrnn,
    "bert": bert,
    "inception_v3": inception_v3,
    "squeezenet_bypass": squeezenet_bypass,
    "resnet3d_18": resnet3d_18,
    "dcgan": dcgan,
    "bert_base": bert_base,
}
