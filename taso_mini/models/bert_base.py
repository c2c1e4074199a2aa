"""BERT base: twelve layers of attention and feed-forward network over a sequence of 128, with 86 million weights.

Paper: Ansor §7.3. Architecture: Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers", base size;
layers as in Vaswani et al., "Attention Is All You Need", with GELU by the error function. The graph starts from the sum
of the three embeddings, which are table look-ups, and ends with the pooled first position, as a classifier reads it.
All positions are words: there is no mask. `bert` is the network that TASO measures.
"""

from __future__ import annotations

import math

import numpy as np

from runtime.graph import Graph
from taso_mini.models.layers import Layers, expect_positive

EPSILON = 1e-12  # added to variances, as in the published code
# Variance of the scores before a softmax, so that some positions matter more than others.
SCORES = 4.0


def bert_base(
    rng: np.random.Generator,
    *,
    layers: int = 12,
    hidden: int = 768,
    heads: int = 12,
    feed_forward: int = 3072,
    sequence: int = 128,
    batch: int = 1,
) -> Graph:
    """Build the network with random weights.

    Shapes: embeddings (batch, sequence, hidden) -> hidden states of the same shape, and pooled (batch, hidden).
    Raises: ValueError: a size that is not positive, or hidden units that do not divide into the heads.
    """
    sizes = {"layers": layers, "hidden": hidden, "heads": heads, "feed_forward": feed_forward}
    expect_positive("bert_base", **sizes, sequence=sequence, batch=batch)
    if hidden % heads:
        raise ValueError(f"bert_base: hidden: expected a multiple of heads = {heads}, got {hidden}")
    build = _Transformer("bert_base", rng, (batch, sequence, heads, hidden // heads), feed_forward)
    x = build.normalized(build.input("embeddings", (batch, sequence, hidden)), "embeddings_norm")
    for number in range(layers):
        x = build.layer(x, f"layer{number}")
    return build.finish((x, build.pooled(x)))


class _Transformer(Layers):
    """The parts of a layer."""

    def __init__(self, name: str, rng: np.random.Generator, by_head: tuple[int, int, int, int], wide: int) -> None:
        super().__init__(name, rng)
        self.by_head, self.wide = by_head, wide
        self.constants: dict[float, str] = {}

    def number(self, value: float) -> str:
        """A constant, added once."""
        if value not in self.constants:
            self.constants[value] = self.weight(f"number{len(self.constants)}", np.full((1,), value, np.float32))
        return self.constants[value]

    def linear(self, x: str, name: str, columns: int, gain: float = 1.0) -> str:
        """A matrix product and its bias."""
        return self.bias(self.dense(x, name, columns, gain), name, axis=-1)

    def normalized(self, x: str, name: str) -> str:
        """Each position with mean 0 and variance 1, then scaled and shifted by weights."""
        width = self.types[x].shape[-1]
        mean = self.add("reduce_mean", x, name=f"{name}_mean", axes=(2,), keepdims=True)
        centred = self.add("sub", x, mean, name=f"{name}_centred")
        square = self.add("mul", centred, centred, name=f"{name}_square")
        variance = self.add("reduce_mean", square, name=f"{name}_variance", axes=(2,), keepdims=True)
        deviation = self.add("sqrt", self.add("add", variance, self.number(EPSILON)), name=f"{name}_deviation")
        scale = self.weight(f"{name}_w", self.rng.uniform(0.8, 1.2, width).astype(np.float32))
        scaled = self.add("mul", self.add("div", centred, deviation, name=f"{name}_normal"), scale)
        return self.bias(scaled, name, axis=-1)

    def attention(self, x: str, name: str) -> str:
        """Queries, keys and values of every head; scores of all pairs of positions; the values mixed by them."""
        shape, hidden, size = self.types[x].shape, self.types[x].shape[-1], self.by_head[-1]
        parts = {}
        for role, perm in (("q", (0, 2, 1, 3)), ("k", (0, 2, 3, 1)), ("v", (0, 2, 1, 3))):
            rows = self.linear(x, f"{name}_{role}", hidden, SCORES if role == "q" else 1.0)
            split = self.add("reshape", rows, name=f"{name}_{role}_heads", shape=self.by_head)
            parts[role] = self.add("transpose", split, name=f"{name}_{role}_by_head", perm=perm)
        scores = self.add("matmul", parts["q"], parts["k"], name=f"{name}_scores")
        scores = self.add("mul", scores, self.number(1 / math.sqrt(size)), name=f"{name}_scaled")
        scores = self.add("softmax", scores, name=f"{name}_softmax", axis=-1)
        mixed = self.add("matmul", scores, parts["v"], name=f"{name}_mixed")
        mixed = self.add("transpose", mixed, name=f"{name}_by_position", perm=(0, 2, 1, 3))
        mixed = self.add("reshape", mixed, name=f"{name}_rows", shape=shape)
        return self.linear(mixed, f"{name}_out", hidden)

    def gelu(self, x: str, name: str) -> str:
        """x / 2 * (1 + erf(x / sqrt 2))."""
        step = self.add("erf", self.add("mul", x, self.number(math.sqrt(0.5)), name=f"{name}_slope"))
        half = self.add("mul", x, self.number(0.5), name=f"{name}_half")
        more = self.add("add", step, self.number(1.0), name=f"{name}_step")
        value: str = self.add("mul", half, more, name=f"{name}_gelu")
        return value

    def layer(self, x: str, name: str) -> str:
        """Attention, then the feed-forward network, each added to what came in and normalised."""
        mixed = self.attention(x, name)
        x = self.normalized(self.add("add", mixed, x, name=f"{name}_attended"), f"{name}_norm1")
        wide = self.gelu(self.linear(x, f"{name}_wide", self.wide, 2.0), f"{name}_wide")
        narrow = self.linear(wide, f"{name}_narrow", self.types[x].shape[-1])
        return self.normalized(self.add("add", narrow, x, name=f"{name}_fed"), f"{name}_norm2")

    def pooled(self, x: str) -> str:
        """The first position through one more layer."""
        batch, _, hidden = self.types[x].shape
        cut = {"starts": (0, 0, 0), "stops": (batch, 1, hidden), "steps": (1, 1, 1)}
        first = self.add("slice", x, name="first", **cut)
        rows = self.linear(self.add("reshape", first, name="first_row", shape=(batch, hidden)), "pooler", hidden)
        value: str = self.add("tanh", rows, name="pooled")
        return value
