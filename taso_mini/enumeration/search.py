"""Candidate rules of a space: grow the terms, pair the graphs of equal value, prune.

Paper: TASO §2.2 and §4. Input: a plan (space, number of operators, seed). Output: pairs of graphs whose outputs have
equal fingerprints, none of which makes another superfluous, with the number left after each step. Nothing is proved
here.

The work is split into parts that any `concurrent.futures.Executor` can share; `Client(...).get_executor()` of
`dask.distributed` spreads the same call over a cluster. The result does not depend on who did what.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from taso_mini.enumeration.arrays import kept
from taso_mini.enumeration.connected import connected
from taso_mini.enumeration.forms import Pairs
from taso_mini.enumeration.funnel import prune
from taso_mini.enumeration.graph_sets import masks
from taso_mini.enumeration.last_level import Part, Plan, enter, joined, make_part, part_count, smaller_terms
from taso_mini.enumeration.pairing import pair_graphs
from taso_mini.enumeration.roles import find_roles
from taso_mini.enumeration.surrogates import Array
from taso_mini.enumeration.term_table import TermTable

Progress = Callable[[str, int, int], None]  # what is being done, how much of it is done, and of how much


@dataclass(eq=False)
class Candidates:
    """What a search found.

    Attributes:
        table: the terms that matter.
        pairs: the candidate rules.
        reductions: terms that equal an input or a tensor of their own closure, see `growth.Terms`.
        counts: terms, distinct values, graphs that hang together, and what each step of pruning left.
    """

    table: TermTable
    pairs: Pairs
    reductions: Array
    counts: dict[str, int]


def search(
    plan: Plan, *, executor: Executor | None = None, folder: Path | None = None, progress: Progress | None = None
) -> Candidates:
    """Find the candidate rules of a plan.

    Args:
        plan: what to enumerate.
        executor: who makes the parts; None makes them here, one after the other.
        folder: where finished parts, graphs and pairs are kept, so that an interrupted search goes on.
        progress: is told what is being done.

    >>> from taso_mini.enumeration.space import published
    >>> found = search(Plan(published(), operators=2))
    >>> found.counts["equal pairs"], found.counts["no instance of another"]
    (126, 29)
    """
    tell = progress or (lambda step, done, total: None)
    own = _own_folder(plan, folder)
    table, reductions, counts = _terms(plan, executor, own, tell)
    found = dict(kept(own, "pairs", partial(_paired, table, own, tell)))
    counts["useful"], counts["graphs"] = found.pop("counts").tolist()
    pairs, left = prune(table, Pairs(**found), executor, tell)
    return Candidates(table, pairs, reductions, counts | left)


def _paired(table: TermTable, folder: str | None, tell: Progress) -> dict[str, Array]:
    """Pair the graphs of equal value; return the pairs, and how many terms have partners and graphs hang together."""
    tell("finding terms of equal value", 0, 1)
    roles = find_roles(table)
    graphs = connected(table, roles, folder=folder, tell=tell)
    counts = np.array([roles.alone.sum(), table.in_order(masks(table, graphs)).sum()])
    return vars(pair_graphs(table, roles, graphs, tell=tell)) | {"counts": counts}


def _terms(
    plan: Plan, executor: Executor | None, folder: str | None, tell: Progress
) -> tuple[TermTable, Array, dict[str, int]]:
    """Make all terms; return a table of those that share their value with another (and of all smaller ones)."""
    tell("growing smaller terms", 0, 1)
    smaller, reductions = smaller_terms(plan)  # before the first call to the executor: forked processes inherit it
    found = dict(kept(folder, "largest", lambda: _largest(plan, executor, folder, tell)))
    terms, classes = found.pop("counts").tolist()
    table, largest = smaller.copy(), Part(**found)
    enter(table, largest, plan.operators)
    counts = {"operators": plan.operators, "terms": terms, "classes": classes}
    return table, np.concatenate([reductions, largest.reductions]), counts


def _largest(plan: Plan, executor: Executor | None, folder: str | None, tell: Progress) -> dict[str, Array]:
    """Make the terms of the largest size; return those that share their value, and how many terms and values exist."""
    total = part_count(plan)
    parts: list[Part | None] = []
    prints = [smaller_terms(plan)[0].fingerprint[len(plan.space.inputs) :]]
    for done, part in enumerate(_parts(plan, total, executor, folder), start=1):
        prints += [part.fingerprints, part.others]
        parts.append(part if folder is None else None)  # kept in one place
        tell(f"growing terms of {plan.operators} operators", done, total)
    values = np.concatenate(prints)
    del prints
    values.sort()
    again = values[1:] == values[:-1]
    counts = np.array([len(values), len(values) - int(again.sum())])
    shared = np.unique(values[1:][again])
    del values, again
    useful = []
    for number in range(total):
        part = parts[number] or make_part(plan, number, folder)
        useful.append(part.take(part.sharing(shared)))
        parts[number] = None
        tell("choosing those that share their value", number + 1, total)
    return vars(joined(useful)) | {"counts": counts}


def _own_folder(plan: Plan, folder: Path | None) -> str | None:
    """Return a folder inside `folder` for this plan alone."""
    if folder is None:
        return None
    own = folder / hashlib.blake2b(repr(plan).encode(), digest_size=8).hexdigest()
    own.mkdir(parents=True, exist_ok=True)
    return str(own)


def _parts(plan: Plan, total: int, executor: Executor | None, folder: str | None) -> Iterator[Part]:
    if executor is None:
        yield from (make_part(plan, number, folder) for number in range(total))
    else:
        yield from in_order(executor, make_part, [(plan, number, folder) for number in range(total)])


def in_order(
    executor: Executor, function: Callable[..., Any], arguments: Sequence[tuple[Any, ...]], ahead: int = 64
) -> Iterator[Any]:
    """Yield `function(*one)` for each tuple of arguments, in order, with at most `ahead` calls handed out."""
    waiting = []
    rest = iter(arguments)
    for one in itertools.islice(rest, ahead):
        waiting.append(executor.submit(function, *one))
    while waiting:
        yield waiting.pop(0).result()
        for one in itertools.islice(rest, 1):
            waiting.append(executor.submit(function, *one))
