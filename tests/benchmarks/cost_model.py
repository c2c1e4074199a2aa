"""The learned cost model against xgboost: the same measured programs, features, loss, folds and tree settings.

Paper: Ansor §7.5

The programs are random ones of ten operators (`record_programs`), and those that tuning the forty operator cases
measured on one thread, where a search has kept to fast ones; each on one processor. They are split by program into five
parts; each part is scored by a model that was fitted to the other four. Pairwise accuracy and recall@30 are taken
within each task over all its programs, then averaged over the tasks; "clear" leaves out pairs less than 5 % apart, and
the pooled figures take all tasks as one, as if labels of different tasks could be compared. Both libraries run on one
thread, in turns; times are medians.

"ours" and "xgboost" have the settings of the precise model (`learned_model.PRECISE`, `tune --model precise`): the
paper's 164 features and 16 more, labels between ranks and throughput, 200 trees. "by default" are those of
`LearnedModel`: 164 features, ranks. Further rows have the paper's labels, or ranks with the 16 features. Another row
tells how well one half of the repeats of the measurements orders the programs as the other half does.

`--quick` takes the random programs and the rows of the precise model. A full run also repeats the study of the paper's
Fig. 3: how well the model ranks programs that are not complete.
"""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from ansor_mini.boosted_trees import GradientBoostedTrees
from ansor_mini.completion import completion_study
from ansor_mini.cost_model import TrivialModel
from ansor_mini.cpu_rules.extended import extended_rules
from ansor_mini.feature_names import FEATURE_SETS
from ansor_mini.holes import freeze
from ansor_mini.learned_model import LABELS, LearnedModel, TrainingData, throughput_labels
from ansor_mini.measured_programs import measured_programs
from ansor_mini.program_features import featurise
from ansor_mini.ranking import pairwise_accuracy, recall_at
from ansor_mini.records import Record, read_records
from ansor_mini.sketch import Program, derive
from ansor_mini.workloads import WORKLOADS, parse_workload
from runtime.machine import detect
from runtime.timing import interleaved
from tests.benchmarks.command import main
from tests.benchmarks.cost_model_fits import Way, ways
from tests.benchmarks.operator_cases import RECORDS, processor
from tests.benchmarks.record_programs import RANDOM_RECORDS

FOLDS = 5
TOP = 30
CLEAR = 0.05  # times that differ by less may change their order when measured again
SEED = 0
PREDICTED = 2048  # programs scored at once in the comparison of times
LEAST = 2 * TOP  # a task with fewer programs says little about its 30 best

# Rows of the table, and what the names of their figures begin with.
FIGURES = {
    "xgboost": "xgboost",
    "ours, by default": "default",
    "xgboost, by default": "xgboost_default",
    "ours, paper's labels": "throughput_labels",
    "ours, registers": "registers",
    "measuring again": "measured_again",
}

Part = tuple[np.ndarray, np.ndarray, np.ndarray]  # features of rows, label of each program, program of each row


@dataclass(frozen=True)
class Measured:
    """Measured programs as numbers.

    X: features, float32 [rows, 180], the paper's first. program: of each row. seconds: of each program. task: number of
    each program's task. names: of the tasks. analytic: each program's score by `TrivialModel`. programs: themselves.
    halves: least seconds of every other repeat of a program's measurement, and of the repeats between, float64 [2,
    programs].
    """

    X: np.ndarray
    program: np.ndarray
    seconds: np.ndarray
    task: np.ndarray
    names: tuple[str, ...]
    analytic: np.ndarray
    programs: tuple[Program, ...] = ()
    halves: np.ndarray | None = None

    @cached_property
    def speed(self) -> np.ndarray:
        """Least seconds of the task / seconds: what the scores should be in the order of; float64 [programs]."""
        return TrainingData([], list(map(str, self.task)), self.seconds.tolist()).labels(throughput_labels)

    def part(self, programs: np.ndarray, labels: str = "rank", features: str = "paper") -> Part:
        """A part of the programs (bool [programs]), labelled as if the others did not exist."""
        chosen = programs[self.program]
        number = np.cumsum(programs) - 1
        data = TrainingData([], list(map(str, self.task[programs])), self.seconds[programs].tolist())
        columns = len(FEATURE_SETS[features])
        return self.X[chosen, :columns], data.labels(LABELS[labels]), number[self.program[chosen]]


def load(path: Path, threads: int = 1) -> Measured:
    """Read records and featurise their programs; tasks with few correct programs are left out.

    Of records of several processors, those of the one that has most count: times of different ones cannot be compared.
    """
    if not path.exists():
        raise ValueError(f"{path} does not exist; python -m tests.benchmarks.tune_operators makes it")
    by_task: dict[str, list[Record]] = {}
    own = [record for record in read_records(path) if record.threads == threads]
    most = Counter(processor(record.machine) for record in own).most_common(1)
    for record in own:
        if processor(record.machine) == most[0][0]:
            by_task.setdefault(record.workload or record.task, []).append(record)
    machine, data = detect(), TrainingData()
    names: list[str] = []
    kept: list[Program] = []
    halves: list[tuple[float, float]] = []
    for name, records in by_task.items():
        dag = parse_workload(name)
        rules = extended_rules(WORKLOADS[name.partition(":")[0]].constants)
        seconds = measured_programs(records, dag, derive(dag, rules, machine))
        good = [program for program, cost in seconds.items() if np.isfinite(cost)]
        featurised = zip(good, featurise(good, machine, "registers"))
        rows = [(program, found) for program, found in featurised if found is not None]
        if len(rows) < LEAST:
            continue
        names.append(name)
        data.rows += [found for _, found in rows]
        data.tasks += [name] * len(rows)
        data.seconds += [seconds[program] for program, _ in rows]
        kept += [program for program, _ in rows]
        halves += _halves(records, [program for program, _ in rows])
    if not names:
        raise ValueError(f"{path} has no task with {LEAST} correct programs on {threads} threads")
    X, program = data.arrays()
    task = np.array([names.index(name) for name in data.tasks])
    # A sketch that was rebuilt from its steps has no facts to estimate from.
    analytic = [TrivialModel(machine, threads).predict([p])[0] if p.sketch.stages else 0.0 for p in kept]
    numbers = np.array(data.seconds), task, tuple(names), np.array(analytic), tuple(kept), np.array(halves).T
    return Measured(X, program, *numbers)


def _halves(records: Sequence[Record], programs: Sequence[Program]) -> list[tuple[float, float]]:
    """The least of every other repeat of each program, and the least of the others; nan when there are none."""
    repeats: dict[object, list[float]] = {}
    for record in records:
        repeats.setdefault((record.steps, freeze(record.annotation)), []).extend(record.seconds)
    known = [repeats[program.identity, program.frozen] for program in programs]
    return [(min(times[::2], default=math.nan), min(times[1::2], default=math.nan)) for times in known]


def cross_validated(data: Measured, way: Way, fold: np.ndarray) -> np.ndarray:
    """The score of each program by the model that has not seen its part; float64 [programs]."""
    scores = np.zeros(len(data.seconds))
    for part in range(FOLDS):
        predict = way.fit(*data.part(fold != part, way.labels, way.features))
        X, known, program = data.part(fold == part, way.labels, way.features)
        scores[fold == part] = np.bincount(program, weights=predict(X), minlength=len(known))
    return scores


def quality(data: Measured, scores: np.ndarray) -> dict[str, float]:
    """Pairwise accuracy and recall, averaged over the tasks and pooled."""
    groups = [(scores[data.task == number], data.speed[data.task == number]) for number in range(len(data.names))]
    return {
        "pairwise_accuracy": float(np.nanmean([pairwise_accuracy(*group) for group in groups])),
        "clear_pairwise_accuracy": float(np.nanmean([pairwise_accuracy(*group, apart=CLEAR) for group in groups])),
        "recall_at_30": float(np.mean([recall_at(TOP, *group) for group in groups])),
        "pooled_pairwise_accuracy": pairwise_accuracy(scores, data.speed),
        "pooled_recall_at_30": recall_at(TOP, scores, data.speed),
    }


def measured_again(data: Measured) -> dict[str, float] | None:
    """How well a measurement predicts itself, which no model can be expected to beat; None without enough repeats."""
    if data.halves is None:
        return None
    twice = np.isfinite(data.halves).all(axis=0)
    if np.bincount(data.task[twice], minlength=len(data.names)).min() < TOP:
        return None
    first, second = (replace(data, seconds=half[twice], task=data.task[twice]) for half in data.halves)
    return quality(first, second.speed)


def times(data: Measured, fold: np.ndarray, ways: Mapping[str, Way], rounds: int) -> dict[str, tuple[float, float]]:
    """Seconds to fit to four fifths of the programs, and to score `PREDICTED` programs, in each way."""
    parts = {name: data.part(fold != 0, way.labels, way.features) for name, way in ways.items()}
    scored = data.program < PREDICTED
    fits = {name: lambda way=way, part=parts[name]: way.fit(*part) for name, way in ways.items()}
    fitting = interleaved(fits, rounds=rounds, settle=0.0)
    rows = {name: np.ascontiguousarray(data.X[scored, : part[0].shape[1]]) for name, part in parts.items()}
    fitted = {name: fit() for name, fit in fits.items()}
    scores = {name: lambda name=name, predict=predict: predict(rows[name]) for name, predict in fitted.items()}
    predicting = interleaved(scores, rounds=3 * rounds, settle=0.0)
    return {name: (fitting[name], predicting[name]) for name in ways}


def cost_model(quick: bool) -> dict[str, Any]:
    """Compare on random programs, whose figures count when there are some, and on those of the search."""
    searched = {}
    if not quick or not RANDOM_RECORDS.exists():
        print("programs of the search")
        searched = compare(load(RECORDS), quick)
    if not RANDOM_RECORDS.exists():
        return searched
    print("\nrandom programs")
    return compare(load(RANDOM_RECORDS), quick) | {f"searched_{name}": value for name, value in searched.items()}


def compare(data: Measured, quick: bool) -> dict[str, Any]:
    """Scores, figures and the table of some measured programs."""
    rng = np.random.default_rng(SEED)
    fold = rng.permutation(np.arange(len(data.seconds)) % FOLDS)
    if find_spec("xgboost") is None:
        print("xgboost is not installed (pip install xgboost); no comparison", file=sys.stderr)
    chosen = ways(find_spec("xgboost") is not None)
    if quick:
        chosen = {name: way for name, way in chosen.items() if name in ("ours", "xgboost")}
    scores = {name: cross_validated(data, way, fold) for name, way in chosen.items()}
    results = {name: quality(data, found) for name, found in scores.items()}
    again = measured_again(data)
    if again is not None:
        results["measuring again"] = again
    results["tile sizes"] = quality(data, data.analytic)
    results["random"] = quality(data, rng.random(len(data.seconds)))
    timed = {name: way for name, way in chosen.items() if name in ("ours", "xgboost") or name.endswith("by default")}
    spent = times(data, fold, timed, 2 if quick else 9)
    print(f"{len(data.seconds)} programs of {len(data.names)} tasks, {len(data.X)} statements, {FOLDS} folds")
    headings = f"{'pairwise':>9} {'clear':>6} {'recall@30':>9} {'pooled: pairwise':>17} {'recall@30':>9}"
    print(f"{'':20} {headings} {'fit s':>7} {'score ms':>9}")
    for name, found in results.items():
        fit, score = spent.get(name, (float("nan"), float("nan")))
        numbers = "{:9.3f} {:6.3f} {:9.3f} {:17.3f} {:9.3f}".format(*found.values())
        print(f"{name:20} {numbers} {fit:7.3f} {score * 1e3:9.2f}")
    _print_tasks(data, {name: scores[name] for name in ("ours", "xgboost") if name in scores})
    completion = [] if quick else incomplete(data, fold)
    figures: dict[str, Any] = {name: round(value, 4) for name, value in results["ours"].items()}
    figures |= {"programs": len(data.seconds), "tasks": len(data.names), "completion": completion}
    for name, key in FIGURES.items():
        figures |= {f"{key}_{figure}": round(value, 4) for figure, value in results.get(name, {}).items()}
    if "xgboost" in results:
        for end, key in (("", ""), (", by default", "default_")):
            if f"ours{end}" not in spent:
                continue
            (fit, score), (their_fit, their_score) = spent[f"ours{end}"], spent[f"xgboost{end}"]
            figures[f"{key}train_time_over_xgboost"] = round(fit / their_fit, 3)
            figures[f"{key}predict_time_over_xgboost"] = round(score / their_score, 3)
    return figures


def incomplete(data: Measured, fold: np.ndarray) -> list[dict[str, float]]:
    """Rank the programs of one part by what is left of them when only a share of their holes is filled."""
    model = LearnedModel(np.random.default_rng(SEED), machine=detect())
    X, labels, program = data.part(fold != 0)
    model.trees = GradientBoostedTrees().fit(X, labels, program=program, weights=labels)
    tasks: list[dict[Program, float]] = [{} for _ in data.names]
    for number in np.flatnonzero(fold == 0):
        if data.programs[number].sketch.holes:
            tasks[data.task[number]][data.programs[number]] = float(data.seconds[number])
    study = completion_study(model, [task for task in tasks if len(task) > 1])
    print("\nshare of choices made, pairwise accuracy, recall@10 (Fig. 3)")
    for entry in study:
        print(f"{entry.share:22.2f} {entry.pairwise_accuracy:18.3f} {entry.recall:10.3f}")
    return [{name: round(value, 4) for name, value in vars(entry).items()} for entry in study]


def _print_tasks(data: Measured, scores: Mapping[str, np.ndarray]) -> None:
    print(f"\n{'task':34} {'programs':>8} " + " ".join(f"{name:>9}" for name in scores) + "   pairwise accuracy")
    for number, name in enumerate(data.names):
        group = data.task == number
        accuracies = [pairwise_accuracy(found[group], data.speed[group]) for found in scores.values()]
        print(f"{name:34} {np.count_nonzero(group):8d} " + " ".join(f"{a:9.3f}" for a in accuracies))


if __name__ == "__main__":
    sys.exit(main("cost_model", cost_model, __doc__ or ""))
