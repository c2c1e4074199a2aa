"""What a picture is before it has a format: boxes and arrows, some boxes in frames, some marked.

>>> drawing = Drawing("two", (Box("a", ("relu",)), Box("b", ("x",), VALUE)), (Arrow("b", "a"),))
>>> drawing.box("a").lines
('relu',)
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

OPERATOR, VALUE, CONSTANT = "operator", "value", "constant"
KINDS = (OPERATOR, VALUE, CONSTANT)
PLAIN, REMOVED, ADDED = "", "removed", "added"
MARKS = (PLAIN, REMOVED, ADDED)


@dataclass(frozen=True)
class Box:
    """One box: a key that arrows name, lines of text, what it stands for, its mark, and the frame it is in."""

    key: str
    lines: tuple[str, ...]
    kind: str = OPERATOR
    mark: str = PLAIN
    frame: str = ""


@dataclass(frozen=True)
class Arrow:
    """From one box to another, with a word beside it or none."""

    source: str
    target: str
    label: str = ""


@dataclass(frozen=True)
class Drawing:
    """A picture; frames are drawn side by side, in the order in which their boxes come.

    Raises: ValueError: two boxes of one key, an arrow to no box, or a kind or mark that does not exist.
    """

    title: str
    boxes: tuple[Box, ...]
    arrows: tuple[Arrow, ...] = ()

    def __post_init__(self) -> None:
        """Check that arrows have ends."""
        keys = {box.key for box in self.boxes}
        if len(keys) < len(self.boxes):
            raise ValueError(f"drawing {self.title}: boxes: expected distinct keys, got {[b.key for b in self.boxes]}")
        for box in self.boxes:
            if box.kind not in KINDS or box.mark not in MARKS:
                raise ValueError(f"drawing {self.title}: box {box.key}: no kind {box.kind!r} or no mark {box.mark!r}")
        for arrow in self.arrows:
            if not {arrow.source, arrow.target} <= keys:
                raise ValueError(f"drawing {self.title}: arrow: expected keys of boxes, got {arrow}")

    def box(self, key: str) -> Box:
        """The box of a key."""
        return next(box for box in self.boxes if box.key == key)

    @property
    def frames(self) -> tuple[str, ...]:
        """The names of the frames; "" is outside of all."""
        return tuple(dict.fromkeys(box.frame for box in self.boxes))

    def framed(self, frame: str) -> Drawing:
        """The same picture in a frame, its keys made distinct from those of other frames."""
        boxes = tuple(replace(box, key=f"{frame}/{box.key}", frame=frame) for box in self.boxes)
        arrows = tuple(Arrow(f"{frame}/{a.source}", f"{frame}/{a.target}", a.label) for a in self.arrows)
        return Drawing(self.title, boxes, arrows)


def side_by_side(title: str, drawings: Iterable[Drawing]) -> Drawing:
    """One picture of several whose keys are distinct."""
    parts = tuple(drawings)
    boxes = tuple(box for part in parts for box in part.boxes)
    return Drawing(title, boxes, tuple(arrow for part in parts for arrow in part.arrows))


def ordinal(names: Iterable[str]) -> dict[str, str]:
    """Short identifiers that every text format accepts, in order.

    >>> ordinal(["conv/1", "x"])
    {'conv/1': 'n0', 'x': 'n1'}
    """
    return {name: f"n{number}" for number, name in enumerate(dict.fromkeys(names))}
