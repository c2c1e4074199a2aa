"""Random drawings without cycles: boxes of several sizes in one or two frames, arrows from earlier to later ones."""

from __future__ import annotations

from hypothesis import strategies as st

from taso_mini.pictures.drawing import KINDS, MARKS, Arrow, Box, Drawing

WORDS = st.text(st.sampled_from('ab x"<&#>\\é'), min_size=1, max_size=12)


@st.composite
def drawings(draw: st.DrawFn) -> Drawing:
    boxes, arrows = [], []
    for frame in draw(st.sampled_from([("",), ("left", "right")])):
        count = draw(st.integers(1, 9))
        keys = [f"{frame}{number}" for number in range(count)]
        for key in keys:
            lines = tuple(draw(st.lists(WORDS, min_size=1, max_size=3)))
            boxes.append(Box(key, lines, draw(st.sampled_from(KINDS)), draw(st.sampled_from(MARKS)), frame))
        for later in range(1, count):
            for earlier in draw(st.lists(st.integers(0, later - 1), max_size=3, unique=True)):
                arrows.append(Arrow(keys[earlier], keys[later], draw(st.sampled_from(["", "0", "1"]))))
    return Drawing(draw(WORDS), tuple(boxes), tuple(arrows))
