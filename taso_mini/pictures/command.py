"""The command `python -m taso_mini draw`: rules, models, what a search changed, and which rules it used."""

from __future__ import annotations

import difflib
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from runtime.command_line import DONE
from taso_mini.commands import Command
from taso_mini.load_model import load_model
from taso_mini.models import PAPER_MODELS
from taso_mini.optimizer import Optimized, optimize
from taso_mini.pictures.drawing import Drawing
from taso_mini.pictures.graph_pictures import draw_change, draw_graph
from taso_mini.pictures.heat_map import HeatMap
from taso_mini.pictures.png import heat_map_png, png
from taso_mini.pictures.rule_pictures import draw_rule
from taso_mini.pictures.svg import svg
from taso_mini.pictures.text_formats import dot, mermaid
from taso_mini.rules_text import SHIPPED_RULES, load_rules
from taso_mini.terms import Substitution

WRITERS: Mapping[str, Callable[[Drawing], str | bytes]] = {"mermaid": mermaid, "dot": dot, "svg": svg, "png": png}
HEAT_WRITERS: Mapping[str, Callable[[HeatMap], str | bytes]] = {
    "text": HeatMap.text,
    "dot": HeatMap.dot,
    "svg": HeatMap.svg,
    "png": heat_map_png,
}
SUFFIXES = {".mmd": "mermaid", ".md": "mermaid", ".dot": "dot", ".gv": "dot", ".svg": "svg", ".png": "png",
            ".txt": "text"}  # fmt: skip
SUBJECTS = ("rule", "model", "change", "uses")


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the arguments of `draw`."""
    parser.add_argument("subject", choices=SUBJECTS, help="a rule; a model; a model before and after a search, with "
                        "the changed part marked; or how often searches used each rule")  # fmt: skip
    parser.add_argument("names", nargs="*", metavar="NAME", help="of the rule or model; of `uses` any number (default: "
                        f"{', '.join(PAPER_MODELS)})")  # fmt: skip
    parser.add_argument("--format", choices=sorted({*WRITERS, *HEAT_WRITERS}), help="default: what --out ends in, "
                        "else mermaid, or text for uses")  # fmt: skip
    parser.add_argument("--out", type=Path, help="file to write (default: standard output)")
    parser.add_argument("--rules", type=Path, default=SHIPPED_RULES, help="rules to use (default: shipped)")
    parser.add_argument("--hops", type=int, default=1, help="draw what is so near to a change (default: %(default)s)")
    parser.add_argument("--whole", action="store_true", help="draw everything around a change")
    parser.add_argument("--alpha", type=float, default=1.05, help="of the search (default: %(default)s)")
    parser.add_argument("--budget", type=int, default=200, help="graphs to expand (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of built-in weights (default: %(default)s)")


def run(arguments: Namespace) -> int:
    """Draw, and write the picture."""
    heat = arguments.subject == "uses"
    writers = HEAT_WRITERS if heat else WRITERS
    name = _format(arguments, "text" if heat else "mermaid", tuple(writers))
    if name == "png" and arguments.out is None:
        raise ValueError("--out: a PNG is not text; name a file for it")
    picture = HEAT_WRITERS[name](_uses(arguments)) if heat else WRITERS[name](_drawing(arguments))
    if arguments.out is None:
        print(picture)
    elif isinstance(picture, bytes):
        arguments.out.write_bytes(picture)
    else:
        arguments.out.write_text(picture if picture.endswith("\n") else picture + "\n", encoding="utf-8")
    return DONE


def _format(arguments: Namespace, default: str, known: Sequence[str]) -> str:
    chosen: str = arguments.format or (SUFFIXES.get(arguments.out.suffix, default) if arguments.out else default)
    if chosen not in known:
        raise ValueError(f"--format: expected one of {', '.join(known)} for {arguments.subject}, got {chosen}")
    return chosen


def _drawing(arguments: Namespace) -> Drawing:
    if len(arguments.names) != 1:
        raise ValueError(f"draw {arguments.subject}: expected one name, got {len(arguments.names)}")
    [name] = arguments.names
    if arguments.subject == "rule":
        return draw_rule(_named(load_rules(arguments.rules), name))
    graph = load_model(name, seed=arguments.seed)
    if arguments.subject == "model":
        return draw_graph(graph)
    after = _search(name, arguments).graph
    return draw_change(graph, after, hops=None if arguments.whole else arguments.hops)


def _named(rules: Sequence[Substitution], name: str) -> Substitution:
    by_name = {rule.name: rule for rule in rules}
    if name not in by_name:
        near = ", ".join(difflib.get_close_matches(name, by_name, n=3, cutoff=0.3))
        raise ValueError(f"no rule is called {name}" + (f"; there are {near}" if near else ""))
    return by_name[name]


def _search(name: str, arguments: Namespace) -> Optimized:
    graph, rules = load_model(name, seed=arguments.seed), load_rules(arguments.rules)
    return optimize(graph, rules, alpha=arguments.alpha, budget=arguments.budget)


def _uses(arguments: Namespace) -> HeatMap:
    traces = {}
    for name in arguments.names or PAPER_MODELS:
        found = _search(name, arguments)
        print(f"{name}: {str(found.trace).splitlines()[-1]}", file=sys.stderr)
        traces[name] = found.trace
    return HeatMap.of_traces(traces)


DRAW = Command(
    "draw",
    "draw a rule, a model, what a search changed, or which rules it used",
    "python -m taso_mini draw change squeezenet --out change.svg",
    add_arguments,
    run,
)
