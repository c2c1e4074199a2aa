"""Packing of the image that a small window slides over, one panel of channels at a time.

Beyond the paper. A depthwise convolution reads the same channels of neighbouring pixels. With 512 channels or more all
pixels of a column of vectors share two sets of the first-level cache, or one, and evict each other before the window
has come round. Copied into a dense panel, each is fetched once:

    for c0 in range(32):                              for c0 in range(32):
        for h, w, kh, kw:                                 X_pack = X[:, :, c0 * 32 : c0 * 32 + 32]
            ... X[h + kh - 1, w + kw - 1, c]      ->      for h, w, kh, kw:
                                                              ... X_pack[h + kh - 1, w + kw - 1, c1]

The padding around the image is read through (`padding`). Where the reader has an outermost loop over blocks of
channels, that one moves before all others and the panel is copied in it; otherwise its place stays open.

>>> from ansor_mini.cpu_rules.padding import READ_THROUGH_PADDING
>>> from ansor_mini.cpu_rules.windows import UNROLLED_WINDOWS
>>> from ansor_mini.sketch import derive
>>> from ansor_mini.sketch_rules import CPU_RULES
>>> from ansor_mini.workloads import parse_workload
>>> rules = (pack_image(), UNROLLED_WINDOWS, READ_THROUGH_PADDING, *CPU_RULES)
>>> for sketch in derive(parse_workload("DEP:7,7,1024,3,1,1"), rules):
...     print(*sketch.rules)
cache-write tile-and-fuse-2 unrolled-window pack-image
cache-write tile-and-fuse-2 unrolled-window read-through-padding
cache-write tile-and-fuse-2 unrolled-window
cache-write tile-and-fuse-2 unrolled-rows pack-image
cache-write tile-and-fuse-2 unrolled-rows read-through-padding
cache-write tile-and-fuse-2 unrolled-rows
"""

from __future__ import annotations

import math

from ansor_mini.cache_read import CacheRead, copy_name
from ansor_mini.compute_dag import ComputeDAG
from ansor_mini.cpu_rules.packing import SET_DISTANCE
from ansor_mini.cpu_rules.padding import can_be_skipped
from ansor_mini.cpu_rules.windows import WINDOW_LIMIT
from ansor_mini.rule_types import Context, Next, Rule, index_of, stage_at, when
from ansor_mini.schedule import At, Step
from ansor_mini.sketch import Derivation
from ansor_mini.steps import ComputeAt, ComputeInline, Reorder
from ansor_mini.tensor_expression import Tensor
from runtime.expr import ITEM_SIZE, Var


def image_behind(dag: ComputeDAG, padded: Tensor, row_bytes: int = SET_DISTANCE) -> str:
    """The input that a padded tensor surrounds, if windows slide over it whose vectors lie far apart; else empty.

    >>> from ansor_mini.workloads import parse_workload
    >>> for text in ("DEP:14,14,512,3,2,1", "DEP:112,112,64,3,2,1", "C2D:7,7,512,512,3,1,1"):
    ...     dag = parse_workload(text)
    ...     print(repr(image_behind(dag, dag["pad"])))
    'X'
    ''
    ''
    """
    image = padded.loads()[0].buffer
    if image.name not in {tensor.name for tensor in dag.inputs} or len(image.shape) < 2:
        return ""
    far = image.shape[-1] * ITEM_SIZE[image.dtype] >= row_bytes
    return image.name if far and all(_slides(reader, padded) for reader in dag.consumers(padded.name)) else ""


def _slides(reader: Tensor, image: Tensor) -> bool:
    """Whether a reader sums over a small window of an image's vectors along the reader's own last axis."""
    loads = [load for load in reader.loads() if load.buffer.name == image.name]
    along = all(load.indices[-1] == Var(reader.axes[-1].name) for load in loads) if reader.axes else False
    return along and 1 < math.prod(axis.extent for axis in reader.reduce_axes) <= WINDOW_LIMIT


def pack_image(row_bytes: int = SET_DISTANCE) -> Rule:
    """The rule; the rules behind it still derive the sketches without a panel. row_bytes: of a pixel, at least."""

    def packable(context: Context, derivation: Derivation, index: int) -> bool:
        if not can_be_skipped(context, derivation, index):
            return False
        return bool(image_behind(derivation.state.dag, stage_at(derivation, index).tensor, row_bytes))

    def pack(context: Context, derivation: Derivation, index: int) -> Next:
        padded = stage_at(derivation, index).tensor
        image = image_behind(derivation.state.dag, padded, row_bytes)
        (reader, *_) = derivation.state.dag.consumers(padded.name)
        packed = derivation.then("pack-image", [CacheRead(padded.name, image), ComputeInline(padded.name)])
        packed = packed.then("", _attach(packed, reader.name, copy_name(image)))
        return [(packed, index_of(packed, copy_name(image)) - 1)]

    return Rule("pack-image", when(packable), pack)


def _attach(derivation: Derivation, reader: str, copy: str) -> list[Step]:
    """Copy the panel in the outermost loop over channels of the stage that the reader is computed in."""
    root = derivation.state[reader]
    while isinstance(root.location, At):
        root = derivation.state[root.location.stage]
    loop = f"{root.tensor.axes[-1].name}.0"
    if loop not in root.names():
        return []
    order = (loop, *(name for name in root.names() if name != loop))
    return [Reorder(root.name, order), ComputeAt(copy, root.name, loop)]
