"""The best so far over the trials: drawn in the terminal, or saved as a picture.

Paper: Ansor §7.1, Fig. 7

A curve is the list of improvements, (trial, value after it), as `TuneResult.curve` holds them. Several of them share
one drawing, each with a mark of its own.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ansor_mini.record import OK, Record

Curve = Sequence[tuple[float, float]]
MARKS = "*o+x#@%&"


def curve_of(records: Iterable[Record]) -> list[tuple[int, float]]:
    """The improvements in records of one task, by trial.

    >>> curve_of([Record("t", (), {"a": n}, "ok", (cost,)) for n, cost in enumerate((3.0, 4.0, 2.0))])
    [(1, 3.0), (3, 2.0)]
    """
    found: list[tuple[int, float]] = []
    seen: set[tuple[object, ...]] = set()
    for record in records:
        seen.add((record.steps, *sorted(record.annotation.items())))
        if record.kind == OK and (not found or record.cost < found[-1][1]):
            found.append((len(seen), record.cost))
    return found


def value_at(curve: Curve, trial: float) -> float:
    """The best value after so many trials; infinite before the first one.

    >>> value_at([(1, 3.0), (3, 2.0)], 2), value_at([(2, 3.0)], 1)
    (3.0, inf)
    """
    return min((value for at, value in curve if at <= trial), default=math.inf)


def draw_curves(curves: Mapping[str, Curve], trials: int, *, width: int = 60, height: int = 10) -> str:
    """Draw curves of seconds against trials, on a logarithmic scale; "" when there is nothing to draw.

    >>> print(draw_curves({"best": [(1, 8e-6), (4, 4e-6), (6, 2e-6)]}, 8, width=8, height=3))
    8 us |***
         |   **
    2 us |     ***
          1 8 trials
    """
    values = [value for curve in curves.values() for _, value in curve if math.isfinite(value)]
    if not values or trials < 1:
        return ""
    width = min(width, trials)
    low, high = math.log(min(values)), math.log(max(values))
    rows = [[" "] * width for _ in range(height)]
    for mark, curve in zip(MARKS * len(curves), curves.values()):
        for column in range(width):
            value = value_at(curve, 1 + (column * (trials - 1) / (width - 1) if width > 1 else trials - 1))
            if math.isfinite(value):
                share = (high - math.log(value)) / (high - low) if high > low else 1.0
                rows[round(share * (height - 1))][column] = mark
    labels = {0: time_text(max(values)), height - 1: time_text(min(values))}
    margin = max(map(len, labels.values()))
    lines = [f"{labels.get(number, ''):>{margin}} |{''.join(row).rstrip()}" for number, row in enumerate(rows)]
    end = f"{trials} trials"
    lines.append(f"{'':>{margin + 2}}1{end:>{max(len(end) + 1, width - 1)}}")
    if len(curves) > 1:
        names = "  ".join(f"{mark} {name}" for mark, name in zip(MARKS * len(curves), curves))
        lines.append(f"{'':>{margin + 2}}{names}")
    return "\n".join(lines)


def save_plot(path: str | os.PathLike[str], curves: Mapping[str, Curve], trials: int, *, title: str = "") -> Path:
    """Save the curves as a picture; the name's ending chooses the format.

    Raises: ImportError: matplotlib is missing. ValueError: a format that it does not write.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError("a plot needs matplotlib: pip install 'mini-compilers[plots]'") from None
    figure = Figure(figsize=(7, 4))
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for name, curve in curves.items():
        at = [x for x, _ in curve] + [max(trials, 1)]
        axes.step(at, [1e6 * y for _, y in curve] + [1e6 * value_at(curve, math.inf)], where="post", label=name)
    axes.set(xlabel="trials", ylabel="best so far (µs)", yscale="log", title=title)
    axes.legend()
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, bbox_inches="tight")
    return Path(path)


def time_text(seconds: float) -> str:
    """A time in the unit that suits it.

    >>> time_text(2.5e-8), time_text(1.25e-5), time_text(0.0456), time_text(12.0), time_text(math.inf)
    ('25 ns', '12.5 us', '45.6 ms', '12 s', 'never')
    """
    if not math.isfinite(seconds):
        return "never"
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= scale:
            return f"{seconds / scale:.4g} {unit}"
    return f"{seconds / 1e-9:.4g} ns"
