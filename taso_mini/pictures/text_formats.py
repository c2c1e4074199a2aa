"""Drawings as text that other programs draw: Mermaid (GitHub and many editors show it) and DOT (Graphviz).

A mark is never colour alone: what is removed has a dashed border, what is added a thick one.
"""

from __future__ import annotations

import json

from taso_mini.pictures.drawing import ADDED, CONSTANT, OPERATOR, REMOVED, VALUE, Box, Drawing, ordinal

FILL = {REMOVED: "#f6d5d0", ADDED: "#d3ead0"}
EDGE = {REMOVED: "#a33324", ADDED: "#2c7a28"}
_MERMAID_ENDS = {OPERATOR: ("[", "]"), VALUE: ("([", "])"), CONSTANT: ("{{", "}}")}
_MERMAID_STYLE = {REMOVED: "stroke-dasharray:4 3", ADDED: "stroke-width:3px"}
_DOT_SHAPE = {OPERATOR: "box", VALUE: "oval", CONSTANT: "hexagon"}
_DOT_STYLE = {REMOVED: "filled,dashed", ADDED: "filled,bold"}


def mermaid(drawing: Drawing) -> str:
    """The text of a Mermaid flowchart.

    >>> from taso_mini.pictures.drawing import Arrow
    >>> print(mermaid(Drawing("t", (Box("x", ("x",), VALUE), Box("y", ("relu",), mark=ADDED)), (Arrow("x", "y"),))))
    ---
    title: "t"
    ---
    flowchart TB
        n0(["x"])
        n1["relu"]
        n0 --> n1
        classDef added fill:#d3ead0,stroke:#2c7a28,stroke-width:3px
        class n1 added
    """
    ids = ordinal(box.key for box in drawing.boxes)
    lines = ["---", f"title: {json.dumps(drawing.title, ensure_ascii=False)}", "---", "flowchart TB"]
    for number, frame in enumerate(drawing.frames):
        inner = [f"{ids[box.key]}{_mermaid_box(box)}" for box in drawing.boxes if box.frame == frame]
        if frame:
            lines += [f'    subgraph f{number}["{_mermaid_text(frame)}"]', *("        " + x for x in inner), "    end"]
        else:
            lines += ["    " + x for x in inner]
    for arrow in drawing.arrows:
        label = f'|"{_mermaid_text(arrow.label)}"|' if arrow.label else ""
        lines.append(f"    {ids[arrow.source]} -->{label} {ids[arrow.target]}")
    for mark, style in _MERMAID_STYLE.items():
        marked = [ids[box.key] for box in drawing.boxes if box.mark == mark]
        if marked:
            lines.append(f"    classDef {mark} fill:{FILL[mark]},stroke:{EDGE[mark]},{style}")
            lines.append(f"    class {','.join(marked)} {mark}")
    return "\n".join(lines)


def _mermaid_box(box: Box) -> str:
    start, end = _MERMAID_ENDS[box.kind]
    return f'{start}"{"<br/>".join(map(_mermaid_text, box.lines))}"{end}'


def _mermaid_text(text: str) -> str:
    """Mermaid writes the characters that mean something to it as entities with # for &."""
    for plain, entity in (("#", "#35;"), ('"', "#quot;"), ("<", "#lt;"), (">", "#gt;")):
        text = text.replace(plain, entity)
    return text


def dot(drawing: Drawing) -> str:
    """The text of a Graphviz graph.

    >>> from taso_mini.pictures.drawing import Arrow
    >>> print(dot(Drawing("t", (Box("x", ("x",), VALUE), Box("y", ("relu",), mark=REMOVED)), (Arrow("x", "y"),))))
    digraph "t" {
        label="t"; labelloc=t; fontname="sans-serif"; node [fontname="sans-serif"];
        n0 [shape=oval, label="x"];
        n1 [shape=box, label="relu", style="filled,dashed", fillcolor="#f6d5d0", color="#a33324"];
        n0 -> n1;
    }
    """
    ids = ordinal(box.key for box in drawing.boxes)
    title = json.dumps(drawing.title, ensure_ascii=False)
    lines = [f"digraph {title} {{"]
    lines.append(f'    label={title}; labelloc=t; fontname="sans-serif"; node [fontname="sans-serif"];')
    for number, frame in enumerate(drawing.frames):
        inner = [f"{ids[box.key]} [{_dot_box(box)}];" for box in drawing.boxes if box.frame == frame]
        if frame:
            lines += [f"    subgraph cluster_{number} {{", f"        label={json.dumps(frame, ensure_ascii=False)};"]
            lines += [*("        " + line for line in inner), "    }"]
        else:
            lines += ["    " + line for line in inner]
    for arrow in drawing.arrows:
        label = f" [label={json.dumps(arrow.label, ensure_ascii=False)}]" if arrow.label else ""
        lines.append(f"    {ids[arrow.source]} -> {ids[arrow.target]}{label};")
    return "\n".join([*lines, "}"])


def _dot_box(box: Box) -> str:
    text = f"shape={_DOT_SHAPE[box.kind]}, label={json.dumps(chr(10).join(box.lines), ensure_ascii=False)}"
    if box.mark:
        text += f', style="{_DOT_STYLE[box.mark]}", fillcolor="{FILL[box.mark]}", color="{EDGE[box.mark]}"'
    return text
