"""`sketches`: print every sketch of a workload as a loop nest, with its rules and its open choices.

Paper: Ansor §4.1
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from ansor_mini.commands.base import add_json, add_workload, say_json, workload_dag, workload_text
from ansor_mini.sketch import Sketch, derive
from ansor_mini.sketch_text import show_sketch
from runtime.command_line import DONE, Command


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the arguments."""
    add_workload(parser)
    parser.add_argument("--structure", default="SSRSRS", help="levels of tiled loops, outer to inner (default: SSRSRS)")
    parser.add_argument("--steps", action="store_true", help="print the transform steps and the holes as well")
    add_json(parser)


def run(arguments: Namespace) -> int:
    """Print every sketch."""
    dag = workload_dag(workload_text(arguments.workload, arguments.batch))
    sketches = derive(dag, structure=arguments.structure)
    for number, sketch in enumerate(sketches):
        if arguments.json:
            holes = {hole.name: hole.kind for hole in sketch.holes}
            line = {"sketch": number, "rules": sketch.rules, "steps": sketch.key, "holes": holes}
            say_json({**line, "loops": show_sketch(sketch)})
        else:
            print(_text(number, len(sketches), sketch, arguments.steps))
    return DONE


def _text(number: int, count: int, sketch: Sketch, steps: bool) -> str:
    """One sketch for people."""
    open_choices = ", ".join(hole.name for hole in sketch.holes if hole.kind != "tile")
    lines = [f"sketch {number + 1} of {count}: {', '.join(sketch.rules) or 'fixed'}", show_sketch(sketch)]
    lines.append(f"open: {open_choices or 'nothing else'}")
    lines += [str(sketch)] if steps else []
    return "\n".join(lines) + "\n"


COMMAND = Command(
    "sketches",
    "print the sketches of a computation as loop nests",
    "python -m ansor_mini sketches matmul:512,512,512",
    add_arguments,
    run,
)
