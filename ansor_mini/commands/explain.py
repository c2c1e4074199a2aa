"""`explain`: everything about one recorded program.

Paper: Ansor §5.2, App. B

Its steps with their numbers, the loops they give, the loop nest, the C, the features of each statement by name, and
what the cost model predicts beside what was measured. Unless a trained model is given, it learns from the other
records of the task.
"""

from __future__ import annotations

import math
import statistics
import textwrap
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ansor_mini.bounds import infer
from ansor_mini.commands.base import (
    Programs,
    add_json,
    add_selection,
    choose,
    say_json,
    workload_constants,
    workload_text,
)
from ansor_mini.curve import time_text
from ansor_mini.feature_names import FEATURE_NAMES, FIRST_OUTER, FIRST_SAMPLE, FIRST_SLOT
from ansor_mini.feature_statements import statements
from ansor_mini.features import raw_features
from ansor_mini.layout_rewrite import rewrite_layout
from ansor_mini.learned_model import LearnedModel
from ansor_mini.measured_programs import measured_programs
from ansor_mini.records import OK, Record, best_of
from ansor_mini.sketch import Program
from ansor_mini.steps import fill, holes
from runtime.command_line import DONE, Command
from runtime.emit_c import emit_library
from runtime.loop_nest import LoopNest
from runtime.machine import detect

FEWEST = 16  # records of a task that a model can learn something from


@dataclass(frozen=True)
class Case:
    """What the sections are about: a record, its program, the other records of the task, and the model to ask."""

    record: Record
    program: Program
    text: str
    others: list[Record]
    model: LearnedModel | None = None

    def nest(self) -> LoopNest:
        """The loop nest as it was measured: weights in the order in which it reads them."""
        nest = self.program.lower()
        for name in workload_constants(self.text):
            rewritten = rewrite_layout(nest, name)
            nest = rewritten[0] if rewritten else nest
        return nest


def measured(case: Case) -> str:
    """What was measured, where and with what."""
    record = case.record
    lines = [f"{case.text}, {record.threads} thread{'s' if record.threads > 1 else ''}"]
    if record.kind == OK:
        flops = case.program.sketch.dag.flops
        spread = f"fastest of {len(record.seconds)}, median {time_text(statistics.median(record.seconds))}"
        lines.append(f"{time_text(record.cost)} ({spread}), {flops / record.cost / 1e9:.1f} GFLOP/s")
    else:
        lines.append(f"{record.kind}: {record.reason}")
    versions = ", ".join(f"{name} {version}" for name, version in record.versions.items())
    return "\n".join([*lines, f"on {record.machine}", *([f"with {versions}"] if versions else [])])


def steps(case: Case) -> str:
    """The transform steps with their numbers; which hole each number fills."""
    values = case.program.annotation
    lines = []
    for step in case.program.sketch.steps:
        names = ", ".join(holes(step))
        lines.append(f"{fill(step, values)}{f'  # {names}' if names else ''}")
    return "\n".join(lines)


def loops(case: Case) -> str:
    """The loops of every stage."""
    return str(case.program.schedule())


def nest(case: Case) -> str:
    """The loop nest that is compiled."""
    return str(case.nest())


def c_text(case: Case) -> str:
    """The C."""
    return emit_library([case.nest()], threads=case.record.threads)


def feature_values(program: Program) -> dict[str, dict[str, float]]:
    """The features of each statement that are not 0, by name; numbers as they are before their logarithm is taken."""
    state = program.schedule()
    names = list(statements(state, infer(state)))
    return {
        name: {feature: float(value) for feature, value in zip(FEATURE_NAMES, row) if value}
        for name, row in zip(names, raw_features(program, detect()))
    }


def features(case: Case) -> str:
    """The features by name, zeros left out: computation and loops, buffers, intensity, allocation and outer loops."""
    position = {name: place for place, name in enumerate(FEATURE_NAMES)}
    slot = (FIRST_SAMPLE - FIRST_SLOT) // 5
    starts = [
        0,
        *range(FIRST_SLOT, FIRST_SAMPLE, slot),
        FIRST_SAMPLE,
        FIRST_SAMPLE + 10,
        FIRST_OUTER,
        len(FEATURE_NAMES),
    ]
    lines = []
    for stage, values in feature_values(case.program).items():
        lines.append(f"{stage}:")
        for first, last in zip(starts, starts[1:]):
            words = [f"{name}={value:.6g}" for name, value in values.items() if first <= position[name] < last]
            if words:
                lines += textwrap.wrap("  ".join(words), 112, initial_indent="  ", subsequent_indent="    ")
    return "\n".join(lines)


def predicted(case: Case) -> str:
    """The model's opinion of this program among all recorded ones of its task."""
    found = prediction(case)
    if not found:
        return f"the task has fewer than {FEWEST} other records; give --model"
    lines = [
        f"score {found['score']:.3f}, measured {found['label']:.3f} (1: the fastest recorded program of the task)",
        f"rank {found['predicted_rank']} of {found['programs']} predicted, {found['measured_rank']} measured",
    ]
    return "\n".join([*lines, *(f"  {stage}: {score:.3f}" for stage, score in found["statements"].items())])


def prediction(case: Case) -> dict[str, Any]:
    """Score and rank of the program, predicted and measured; empty when there is nothing to learn from."""
    others = measured_programs(case.others, case.program.sketch.dag, [case.program.sketch])
    others.pop(case.program, None)
    model = case.model
    if model is None:
        if len(others) < FEWEST:
            return {}
        model = LearnedModel(np.random.default_rng(0), machine=detect(), warmup=FEWEST, labels="throughput")
        model.update(list(others), list(others.values()))
    programs = [case.program, *others]
    scores = model.predict(programs)
    labels = np.array([1 / case.record.cost, *(1 / seconds for seconds in others.values())])
    state = case.program.schedule()
    return {
        "score": float(scores[0]),
        "label": float(labels[0] / labels.max()) if labels.max() > 0 else 0.0,
        "programs": len(programs),
        "predicted_rank": int(np.sum(scores > scores[0])) + 1,
        "measured_rank": int(np.sum(labels > labels[0])) + 1,
        "statements": dict(zip(statements(state, infer(state)), model.statement_scores(case.program).tolist())),
    }


SECTIONS: dict[str, tuple[str, Callable[[Case], str]]] = {
    "measured": ("measured", measured),
    "steps": ("transform steps", steps),
    "loops": ("loops of each stage", loops),
    "nest": ("loop nest", nest),
    "c": ("C", c_text),
    "features": ("features that are not 0", features),
    "predicted": ("predicted against measured", predicted),
}


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("records", type=Path, help="record file")
    parser.add_argument("--number", type=int, help="which of the chosen records, from 1 (default: the fastest)")
    parser.add_argument("--show", default=",".join(SECTIONS), help="some of %(default)s (default: all)")
    parser.add_argument("--model", type=Path, help="a model that `train` has written")
    add_selection(parser)
    add_json(parser)


def run(arguments: Namespace) -> int:
    """Explain one record."""
    wanted = arguments.show.split(",")
    unknown = sorted(set(wanted) - set(SECTIONS))
    if unknown:
        raise ValueError(f"--show: there is no {', '.join(unknown)}; there are {', '.join(SECTIONS)}")
    case = find_case(arguments)
    if not arguments.json:
        for name in wanted:
            title, show = SECTIONS[name]
            print(f"== {title}\n{show(case)}\n")
        return DONE
    record = case.record
    line: dict[str, Any] = {"workload": case.text, "threads": record.threads, "kind": record.kind}
    line |= {"seconds": record.cost if math.isfinite(record.cost) else None, "program": record.annotation}
    texts = {name: SECTIONS[name][1](case) for name in wanted if name not in ("measured", "features", "predicted")}
    line |= {"features": feature_values(case.program)} if "features" in wanted else {}
    say_json(line | texts | ({"predicted": prediction(case) or None} if "predicted" in wanted else {}))
    return DONE


def find_case(arguments: Namespace) -> Case:
    """The record that the arguments mean.  Raises: ValueError: there is none of that number, or no correct one."""
    records = choose([arguments.records], arguments)
    if arguments.number is not None and not 1 <= arguments.number <= len(records):
        raise ValueError(f"--number must be from 1 to {len(records)}, got {arguments.number}")
    record = best_of(records, source=arguments.source) if arguments.number is None else records[arguments.number - 1]
    if record is None:
        raise ValueError("none of these records is of a correct program; choose one with --number")
    programs = Programs(workload_text(arguments.workload, arguments.batch))
    others = [r for r in records if (r.task, r.threads) == (record.task, record.threads) and r is not record]
    model = LearnedModel(np.random.default_rng(0), machine=detect()) if arguments.model else None
    if model is not None:
        model.restore(arguments.model)
    return Case(record, programs(record), programs.name(record), others, model)


COMMAND = Command(
    "explain",
    "show all about one recorded program: steps, loops, C, features, prediction",
    "python -m ansor_mini explain records.jsonl --show steps,nest,c",
    add_arguments,
    run,
)
