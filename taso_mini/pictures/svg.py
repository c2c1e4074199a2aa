"""Drawings as SVG, which every browser shows; needs no other program."""

from __future__ import annotations

from xml.sax.saxutils import escape

from taso_mini.pictures.drawing import ADDED, CONSTANT, REMOVED, VALUE, Box, Drawing
from taso_mini.pictures.layout import LINE, Layout, Place, lay_out
from taso_mini.pictures.text_formats import EDGE, FILL

_STROKE = {REMOVED: ' stroke-dasharray="4 3"', ADDED: ' stroke-width="2.5"'}


def svg(drawing: Drawing) -> str:
    """The text of an SVG picture.

    >>> print(svg(Drawing("t", (Box("x", ("relu",)),)))[:42])
    <svg xmlns="http://www.w3.org/2000/svg" wi
    """
    layout = lay_out(drawing)
    lines = [*_head(layout.size), _text(layout.size[0] / 2, 1.5 * LINE, drawing.title, bold=True)]
    for name, place in layout.frames:
        lines.append(_rectangle(place, "#fafafa", "#999999", round_by=6))
        lines.append(_text(place.x, place.y - place.height / 2 - 5, name))
    lines += _arrows(layout)
    lines += [line for box in drawing.boxes for line in _box(box, layout.boxes[box.key])]
    return "\n".join([*lines, "</svg>", ""])


def _head(size: tuple[float, float]) -> list[str]:
    width, height = (f"{extent:.0f}" for extent in size)
    return [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
        ' font-family="sans-serif" font-size="12" text-anchor="middle">',
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
        '<path d="M0 0L8 4L0 8z" fill="#555555"/></marker></defs>',
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]


def _text(x: float, y: float, text: str, bold: bool = False) -> str:
    weight = ' font-weight="bold"' if bold else ""
    return f'<text x="{x:.1f}" y="{y:.1f}"{weight}>{escape(text)}</text>'


def _rectangle(place: Place, fill: str, stroke: str, more: str = "", round_by: float = 0) -> str:
    corner = f'x="{place.x - place.width / 2:.1f}" y="{place.y - place.height / 2:.1f}"'
    size = f'width="{place.width:.1f}" height="{place.height:.1f}" rx="{round_by:.1f}"'
    return f'<rect {corner} {size} fill="{fill}" stroke="{stroke}"{more}/>'


def _box(box: Box, place: Place) -> list[str]:
    """Operators are boxes, values are rounded, constants have cut corners in DOT and double borders here."""
    fill, stroke, more = FILL.get(box.mark, "#ffffff"), EDGE.get(box.mark, "#333333"), _STROKE.get(box.mark, "")
    round_by = place.height / 2 if box.kind == VALUE else 3.0
    shapes = [_rectangle(place, fill, stroke, more, round_by)]
    if box.kind == CONSTANT:
        inner = Place(place.x, place.y, place.width - 5, place.height - 5)
        shapes.append(_rectangle(inner, "none", stroke, "", round_by))
    first = place.y - LINE * (len(box.lines) - 1) / 2 + 4
    return [*shapes, *(_text(place.x, first + LINE * n, text) for n, text in enumerate(box.lines))]


def _arrows(layout: Layout) -> list[str]:
    lines = []
    for arrow, points in layout.arrows:
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        lines.append(f'<polyline points="{path}" fill="none" stroke="#555555" marker-end="url(#tip)"/>')
        if arrow.label:
            (x0, y0), (x1, y1) = points[-2:]
            lines.append(_text(0.3 * x0 + 0.7 * x1 + 6, 0.3 * y0 + 0.7 * y1, arrow.label))
    return lines
