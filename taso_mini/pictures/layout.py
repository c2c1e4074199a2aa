"""Places for the boxes of a drawing, top to bottom, with few crossings: what an SVG or PNG needs and text does not.

The method of Sugiyama, Tagawa and Toda in four steps, for each frame on its own:

1. Layers: a box is one below the lowest box that points at it; boxes without arrows to them move down to their users.
2. An arrow over several layers gets a way point in each layer that it passes.
3. Order within a layer: several sweeps down and up, sorting by the mean place of the neighbours in the layer before.
4. Places: boxes move towards the mean of their neighbours as far as the gap between boxes allows, which is a
   least-squares problem with ordered unknowns and has an exact solution (pool adjacent violators).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from taso_mini.pictures.drawing import Arrow, Box, Drawing

LETTER, LINE, MARGIN = 7.2, 16.0, 10.0  # points of one letter and one line of text, and around them
GAP, DROP = 16.0, 34.0  # between boxes, between layers
SWEEPS = 8
Point = tuple[float, float]


@dataclass(frozen=True)
class Place:
    """The middle of a box and its size."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Layout:
    """Where everything is: boxes by key, arrows as points from top to bottom, frames as (name, place)."""

    size: Point
    boxes: Mapping[str, Place]
    arrows: tuple[tuple[Arrow, tuple[Point, ...]], ...]
    frames: tuple[tuple[str, Place], ...]


@dataclass
class _Frame:
    """One frame at work: nodes are boxes and way points, layers hold their numbers in order."""

    sizes: list[Point] = field(default_factory=list)
    above: list[list[int]] = field(default_factory=list)
    below: list[list[int]] = field(default_factory=list)
    layers: list[list[int]] = field(default_factory=list)

    def add(self, size: Point, layer: int) -> int:
        number = len(self.sizes)
        self.sizes.append(size)
        self.above.append([])
        self.below.append([])
        while len(self.layers) <= layer:
            self.layers.append([])
        self.layers[layer].append(number)
        return number

    def join(self, upper: int, lower: int) -> None:
        self.below[upper].append(lower)
        self.above[lower].append(upper)


def size_of(box: Box) -> Point:
    """Width and height of a box that holds its text."""
    return max(map(len, box.lines)) * LETTER + 2 * MARGIN, len(box.lines) * LINE + MARGIN


def lay_out(drawing: Drawing) -> Layout:
    """Place every box and arrow of a drawing; the same drawing always gets the same places.

    Raises: ValueError: the arrows of a frame make a cycle, or an arrow leads from one frame to another.
    """
    boxes: dict[str, Place] = {}
    arrows: list[tuple[Arrow, tuple[Point, ...]]] = []
    frames: list[tuple[str, Place]] = []
    left, bottom, top = GAP, 0.0, 3 * LINE
    home = {box.key: box.frame for box in drawing.boxes}
    for name in drawing.frames:
        inside = [box for box in drawing.boxes if box.frame == name]
        own = [arrow for arrow in drawing.arrows if home[arrow.source] == name]
        if any(home[arrow.target] != name for arrow in own):
            raise ValueError(f"drawing {drawing.title}: an arrow leaves the frame {name!r}")
        placed, ways, (width, height) = _lay_out_frame(inside, own, (left, top))
        boxes.update(placed)
        arrows += ways
        if name:
            frames.append((name, Place(left + width / 2, top + height / 2, width + GAP, height + GAP)))
        left, bottom = left + width + 3 * GAP, max(bottom, top + height + GAP)
    width = max(left - 2 * GAP, len(drawing.title) * LETTER + 2 * GAP)
    return Layout((width, bottom + GAP), boxes, tuple(arrows), tuple(frames))


def _lay_out_frame(
    boxes: Sequence[Box], arrows: Sequence[Arrow], corner: Point
) -> tuple[dict[str, Place], list[tuple[Arrow, tuple[Point, ...]]], Point]:
    layer = _layers(boxes, arrows)
    frame = _Frame()
    number = {box.key: frame.add(size_of(box), layer[box.key]) for box in boxes}
    ways: list[list[int]] = []
    for arrow in arrows:
        way = [number[arrow.source]]
        for at in range(layer[arrow.source] + 1, layer[arrow.target]):
            way.append(frame.add((2.0, 0.0), at))
        way.append(number[arrow.target])
        for upper, lower in zip(way, way[1:], strict=False):
            frame.join(upper, lower)
        ways.append(way)
    _order(frame)
    xs = _columns(frame)
    ys, halves, height = _rows(frame)
    left = min((x - w / 2 for x, (w, _) in zip(xs, frame.sizes, strict=True)), default=0.0)
    right = max((x + w / 2 for x, (w, _) in zip(xs, frame.sizes, strict=True)), default=0.0)
    points = [(corner[0] + x - left, corner[1] + y) for x, y in zip(xs, ys, strict=True)]
    placed = {key: Place(*points[n], *frame.sizes[n]) for key, n in number.items()}
    lines = []
    for arrow, way in zip(arrows, ways, strict=True):
        (x0, y0), (x1, y1) = points[way[0]], points[way[-1]]
        start, end = (x0, y0 + frame.sizes[way[0]][1] / 2), (x1, y1 - frame.sizes[way[-1]][1] / 2)
        # Straight down through the layers between, so that no box of them is crossed.
        between = [(points[n][0], points[n][1] + side * halves[n]) for n in way[1:-1] for side in (-1, 1)]
        lines.append((arrow, (start, *between, end)))
    return placed, lines, (right - left, height)


def _layers(boxes: Sequence[Box], arrows: Sequence[Arrow]) -> dict[str, int]:
    """Step 1."""
    into: dict[str, list[str]] = {box.key: [] for box in boxes}
    out: dict[str, list[str]] = {box.key: [] for box in boxes}
    for arrow in arrows:
        into[arrow.target].append(arrow.source)
        out[arrow.source].append(arrow.target)
    layer: dict[str, int] = {}
    waiting = {key: len(sources) for key, sources in into.items()}
    ready = [key for key, count in waiting.items() if count == 0]
    while ready:
        key = ready.pop()
        layer[key] = max((layer[source] + 1 for source in into[key]), default=0)
        for target in out[key]:
            waiting[target] -= 1
            if waiting[target] == 0:
                ready.append(target)
    if len(layer) < len(boxes):
        stuck = sorted(set(into) - set(layer))
        raise ValueError(f"arrows: expected no cycle, but there is one above or among {', '.join(stuck)}")
    for key, sources in into.items():
        if not sources and out[key]:
            layer[key] = min(layer[target] for target in out[key]) - 1
    return layer


def _order(frame: _Frame) -> None:
    """Step 3."""
    for sweep in range(SWEEPS):
        down = sweep % 2 == 0
        place = {n: at for layer in frame.layers for at, n in enumerate(layer)}
        for layer in frame.layers if down else reversed(frame.layers):
            neighbours = frame.above if down else frame.below

            def mean(n: int, near: list[list[int]] = neighbours, at: dict[int, int] = place) -> float:
                return sum(at[m] for m in near[n]) / len(near[n]) if near[n] else at[n]

            layer.sort(key=mean)
            place.update((n, at) for at, n in enumerate(layer))


def _columns(frame: _Frame) -> list[float]:
    """Step 4, from side to side."""
    xs = [0.0] * len(frame.sizes)
    for sweep in range(2 * SWEEPS):
        for layer in frame.layers if sweep % 2 == 0 else reversed(frame.layers):
            wanted = []
            for n in layer:
                near = frame.above[n] + frame.below[n] if sweep else frame.above[n]
                wanted.append(sum(xs[m] for m in near) / len(near) if near else xs[n])
            widths = [frame.sizes[n][0] for n in layer]
            for n, x in zip(layer, spread(wanted, widths), strict=True):
                xs[n] = x
    return xs


def spread(wanted: Sequence[float], widths: Sequence[float]) -> list[float]:
    """The places nearest to the wanted ones, in least squares, at which boxes in this order do not touch.

    >>> spread([0.0, 0.0], [10.0, 10.0])
    [-13.0, 13.0]
    """
    # With the room that the boxes before it need taken away, every place need only not be less than the one before.
    offsets = [0.0]
    for one, other in zip(widths, widths[1:], strict=False):
        offsets.append(offsets[-1] + (one + other) / 2 + GAP)
    blocks: list[list[float]] = []  # [sum, count] of runs that share one place
    for want, offset in zip(wanted, offsets, strict=False):
        blocks.append([want - offset, 1])
        while len(blocks) > 1 and blocks[-2][0] / blocks[-2][1] >= blocks[-1][0] / blocks[-1][1]:
            total, count = blocks.pop()
            blocks[-1][0] += total
            blocks[-1][1] += count
    shared = [total / count for total, count in blocks for _ in range(int(count))]
    return [place + offset for place, offset in zip(shared, offsets, strict=False)]


def _rows(frame: _Frame) -> tuple[list[float], list[float], float]:
    """Step 4, from top to bottom: every node's middle, half of its layer's height, and the height of all."""
    ys, halves, top = [0.0] * len(frame.sizes), [0.0] * len(frame.sizes), 0.0
    for layer in frame.layers:
        height = max((frame.sizes[n][1] for n in layer), default=0.0)
        for n in layer:
            ys[n], halves[n] = top + height / 2, height / 2
        top += height + DROP
    return ys, halves, max(0.0, top - DROP)
