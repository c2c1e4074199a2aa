"""BERT as TASO measures it: eight layers of sixteen-headed attention, with nothing between them.

Paper: TASO §7. Architecture: Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers", large size. The
graph is that of TASO's published script, with what the script leaves undone: the keys are transposed before they meet
the queries, the scores pass a softmax, and the last product of a layer reads the attention, where the script multiplies
the layer's input again and leaves the attention without a reader. Like the script it has no feed-forward network,
residual or normalisation.

`softmax=False` gives the script's 113 operators, for comparing costs. Its numbers mean little: a layer without softmax
is a polynomial of degree three, and eight of them one of degree 6,561, which leaves the range of float32. With softmax
they stay near one, but no residual keeps the positions of a sequence apart: to see a mistake in the scores, look at the
output of one or two layers.
"""

from __future__ import annotations

import numpy as np

from runtime.graph import Graph
from taso_mini.models.layers import Layers, expect_positive

# Variance of the scores before a softmax: some positions matter more than others. Without a softmax the sum over all
# positions has a variance of one instead.
SCORES = 16


def bert(
    rng: np.random.Generator,
    *,
    layers: int = 8,
    hidden: int = 1024,
    heads: int = 16,
    sequence: int = 64,
    batch: int = 16,
    softmax: bool = True,
) -> Graph:
    """Build the network with random weights.

    softmax: make the scores of every query sum to one.
    Shapes: data (batch * sequence, hidden) -> the same.
    Raises: ValueError: a size that is not positive, or hidden units that do not divide into the heads.
    """
    expect_positive("bert", layers=layers, hidden=hidden, heads=heads, sequence=sequence, batch=batch)
    if hidden % heads:
        raise ValueError(f"bert: hidden: expected a multiple of heads = {heads}, got {hidden}")
    build = Layers("bert", rng)
    x = build.add("relu", build.input("data", (batch * sequence, hidden)), name="relu")
    score_gain = SCORES / (hidden // heads) if softmax else 1 / (hidden // heads * sequence)
    for number in range(layers):
        x = _layer(build, x, f"layer{number}", (batch, sequence, heads, hidden // heads), score_gain, softmax)
    return build.finish(x)


def _layer(build: Layers, x: str, name: str, shape: tuple[int, int, int, int], score_gain: float, softmax: bool) -> str:
    """Queries, keys and values of every head; scores; their mix; and a last product."""
    hidden = build.types[x].shape[1]
    parts = {}
    for role, perm in (("q", (0, 2, 1, 3)), ("k", (0, 2, 3, 1)), ("v", (0, 2, 1, 3))):
        rows = build.dense(x, f"{name}_{role}", hidden, score_gain if role == "q" else 1.0)
        split = build.add("reshape", rows, name=f"{name}_{role}_heads", shape=shape)
        parts[role] = build.add("transpose", split, name=f"{name}_{role}_by_head", perm=perm)
    scores = build.add("matmul", parts["q"], parts["k"], name=f"{name}_scores")
    if softmax:
        scores = build.add("softmax", scores, name=f"{name}_softmax", axis=-1)
    mixed = build.add("matmul", scores, parts["v"], name=f"{name}_mixed")
    mixed = build.add("transpose", mixed, name=f"{name}_by_position", perm=(0, 2, 1, 3))
    mixed = build.add("reshape", mixed, name=f"{name}_rows", shape=build.types[x].shape)
    return build.dense(mixed, f"{name}_out", hidden)
