"""Drawings and heat maps as PNG, by matplotlib where it is installed."""

from __future__ import annotations

import io
from typing import Any

from taso_mini.pictures.drawing import ADDED, CONSTANT, REMOVED, VALUE, Box, Drawing
from taso_mini.pictures.heat_map import HeatMap
from taso_mini.pictures.layout import Place, lay_out
from taso_mini.pictures.text_formats import EDGE, FILL

POINTS = 72.0


class RendererMissing(ValueError):
    """A picture was asked for in a format that needs a program which is not installed."""


def _figure(width: float, height: float) -> Any:
    """An empty figure of so many points.  Raises: RendererMissing: there is no matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise RendererMissing(
            "PNG needs matplotlib (`pip install matplotlib`); svg, mermaid and dot need nothing"
        ) from None
    return Figure(figsize=(width / POINTS, height / POINTS))


def _bytes(figure: Any) -> bytes:
    stream = io.BytesIO()
    # Without a date and a version in it, the same picture is the same bytes.
    figure.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()


def png(drawing: Drawing) -> bytes:
    """The bytes of a PNG picture of a drawing.  Raises: RendererMissing: there is no matplotlib."""
    layout = lay_out(drawing)
    width, height = layout.size
    figure = _figure(width, height)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    axes.axis("off")
    axes.text(width / 2, 20, drawing.title, ha="center", va="center", weight="bold", size=10)
    for name, place in layout.frames:
        _rectangle(axes, place, facecolor="#fafafa", edgecolor="#999999", zorder=1)
        axes.text(place.x, place.y - place.height / 2 - 8, name, ha="center", va="center", size=9)
    for arrow, points in layout.arrows:
        xs, ys = zip(*points[:-1], strict=True)
        axes.plot(xs, ys, color="#555555", linewidth=0.8)
        axes.annotate("", points[-1], points[-2], arrowprops={"arrowstyle": "-|>", "color": "#555555", "shrinkA": 0})
        if arrow.label:
            (x0, y0), (x1, y1) = points[-2:]
            axes.text(0.3 * x0 + 0.7 * x1 + 6, 0.3 * y0 + 0.7 * y1, arrow.label, size=8)
    for box in drawing.boxes:
        _box(axes, box, layout.boxes[box.key])
    return _bytes(figure)


def _rectangle(axes: Any, place: Place, round_by: float = 3.0, **style: Any) -> None:
    from matplotlib.patches import FancyBboxPatch

    corner = (place.x - place.width / 2, place.y - place.height / 2)
    shape = f"round,pad=0,rounding_size={round_by}"
    axes.add_patch(FancyBboxPatch(corner, place.width, place.height, boxstyle=shape, **style))


def _box(axes: Any, box: Box, place: Place) -> None:
    dashes = {REMOVED: "--"}.get(box.mark, "-")
    width = 2.2 if box.mark == ADDED else 1.8 if box.kind == CONSTANT else 1.0
    style = {"linestyle": dashes, "linewidth": width, "zorder": 3}
    colours = {"facecolor": FILL.get(box.mark, "#ffffff"), "edgecolor": EDGE.get(box.mark, "#333333")}
    _rectangle(axes, place, place.height / 2 if box.kind == VALUE else 3.0, **style, **colours)
    axes.text(place.x, place.y, "\n".join(box.lines), ha="center", va="center", size=9, zorder=4, linespacing=1.25)


def heat_map_png(heat: HeatMap) -> bytes:
    """The bytes of a PNG picture of a heat map.  Raises: RendererMissing: there is no matplotlib."""
    if not heat.rules:
        figure = _figure(400.0, 60.0)
        figure.text(0.5, 0.5, heat.text(), ha="center", va="center", size=9)
        return _bytes(figure)
    names = max(map(len, heat.rules))
    width, height = 60.0 * len(heat.networks) + 6.0 * names + 40, 18.0 * len(heat.rules) + 110
    figure = _figure(width, height)
    axes = figure.add_axes((6.0 * names / width, 20 / height, 1 - (6.0 * names + 20) / width, 1 - 110 / height))
    axes.imshow(heat.table(), cmap="Greens", aspect="auto", vmin=0)
    axes.set_xticks(range(len(heat.networks)), heat.networks, rotation=30, ha="left")
    axes.xaxis.tick_top()
    axes.set_yticks(range(len(heat.rules)), heat.rules, size=8)
    for row, counts in enumerate(heat.table()):
        for column, count in enumerate(counts):
            if count:
                dark = count > 0.6 * heat.largest
                axes.text(column, row, count, ha="center", va="center", size=8, color="white" if dark else "black")
    return _bytes(figure)
