"""Which rules a search used, and how often, network by network.

Paper: TASO §7.3, Fig. 10. A row is a rule, a column a network, a cell the number of applications on the way to the best
graph that was found.

>>> heat = HeatMap.of({"bert": {"merge": 24, "fold": 7}, "resnet50": {"merge": 1}})
>>> print(heat.text())
         bert resnet50
merge ██   24 ░░     1
fold  ▒▒    7        .
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape as escape_html
from xml.sax.saxutils import escape

from taso_mini.trace import Trace

SHADES = "░▒▓█"


@dataclass(frozen=True)
class HeatMap:
    """Counts by rule and network; rules in the order of first use, so that neighbours were found together."""

    networks: tuple[str, ...]
    rules: tuple[str, ...]
    counts: Mapping[tuple[str, str], int]

    @classmethod
    def of(cls, uses: Mapping[str, Mapping[str, int]]) -> HeatMap:
        """Collect counts given by network, then rule; rules never used are left out."""
        rules = dict.fromkeys(rule for counts in uses.values() for rule, count in counts.items() if count)
        counts = {(rule, network): counts.get(rule, 0) for network, counts in uses.items() for rule in rules}
        return cls(tuple(uses), tuple(rules), counts)

    @classmethod
    def of_traces(cls, traces: Mapping[str, Trace]) -> HeatMap:
        """Count the steps of searches, by network."""
        return cls.of({network: Counter(step.rule for step in trace.steps) for network, trace in traces.items()})

    @property
    def largest(self) -> int:
        """The largest count, 0 when no rule was used."""
        return max(self.counts.values(), default=0)

    def table(self) -> list[list[int]]:
        """The counts, a row per rule."""
        return [[self.counts[rule, network] for network in self.networks] for rule in self.rules]

    def text(self) -> str:
        """A table with a shade and the number in each cell."""
        if not self.rules:
            return f"no rule was used in {', '.join(self.networks) or 'no network'}"
        name = max(map(len, self.rules))
        widths = [max(len(network), 7) for network in self.networks]
        heads = (f"{network:>{width}}" for network, width in zip(self.networks, widths, strict=True))
        lines = [" ".join([" " * name, *heads])]
        for rule, counts in zip(self.rules, self.table(), strict=True):
            cells = (self._cell(count, width) for count, width in zip(counts, widths, strict=True))
            lines.append(" ".join([f"{rule:<{name}}", *cells]))
        return "\n".join(lines)

    def _cell(self, count: int, width: int) -> str:
        if not count:
            return f"{'.':>{width}}"
        return SHADES[min(3, 4 * count // (self.largest + 1))] * 2 + f"{count:>{width - 2}}"

    def _colour(self, count: int) -> str:
        """White for nothing, then ever darker greens."""
        share = count / self.largest if self.largest else 0.0
        red, green, blue = (round(high + (low - high) * share) for high, low in ((255, 35), (255, 139), (255, 69)))
        return f"#{red:02x}{green:02x}{blue:02x}"

    def dot(self) -> str:
        """The text of a Graphviz graph: one node that is a table."""
        head = "<td></td>" + "".join(f"<td><b>{escape_html(network)}</b></td>" for network in self.networks)
        rows = [f"<tr>{head}</tr>"]
        for rule, counts in zip(self.rules, self.table(), strict=True):
            cells = "".join(f'<td bgcolor="{self._colour(count)}">{count or ""}</td>' for count in counts)
            rows.append(f'<tr><td align="left">{escape_html(rule)}</td>{cells}</tr>')
        label = f'<table border="0" cellborder="1" cellspacing="0">{"".join(rows)}</table>'
        return f'digraph "rules used" {{\n    heat [shape=plain, fontname="sans-serif", label=<{label}>];\n}}'

    def svg(self) -> str:
        """The text of an SVG picture."""
        name, wide, high = 7.0 * max((len(rule) for rule in self.rules), default=0) + 16, 84, 20
        width, height = name + wide * len(self.networks) + 8, high * (len(self.rules) + 1) + 8
        lines = [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height}"'
            ' font-family="sans-serif" font-size="12">',
            f'<rect width="{width:.0f}" height="{height}" fill="white"/>',
        ]
        for column, network in enumerate(self.networks):
            middle = name + wide * (column + 0.5)
            lines.append(
                f'<text x="{middle:.0f}" y="15" text-anchor="middle" font-weight="bold">{escape(network)}</text>'
            )
        for row, (rule, counts) in enumerate(zip(self.rules, self.table(), strict=True), 1):
            lines.append(f'<text x="{name - 8:.0f}" y="{high * row + 15}" text-anchor="end">{escape(rule)}</text>')
            for column, count in enumerate(counts):
                x, fill = name + wide * column, self._colour(count)
                box = f'<rect x="{x:.0f}" y="{high * row}" width="{wide}" height="{high}"'
                lines.append(f'{box} fill="{fill}" stroke="#cccccc"/>')
                if count:
                    ink = "white" if count > 0.6 * self.largest else "black"
                    at = f'x="{x + wide / 2:.0f}" y="{high * row + 15}"'
                    lines.append(f'<text {at} text-anchor="middle" fill="{ink}">{count}</text>')
        return "\n".join([*lines, "</svg>", ""])
