"""Which recorded programs a compiled network gets: chosen by their times in it after a search, or as chosen before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansor_mini.network_choice import NetworkChoice, choice_for
from ansor_mini.partition import Subgraph
from ansor_mini.recorded_kernels import choose_programs
from ansor_mini.records import RecordFiles, read_choices
from runtime.graph import Graph
from taso_mini.compile_job import Job
from taso_mini.kernel_tuning import Tuned, sinks


def choose_kernels(
    graph: Graph, parts: Sequence[Subgraph], tuned: Tuned, feeds: Mapping[str, Any], job: Job
) -> NetworkChoice | None:
    """Choose the programs of a graph whose kernels are tuned, and keep the choice with the records.

    Without trials an earlier choice is taken up. None: the kernels stay as they are in `tuned`, each the fastest alone,
    because there is no choice or the search was interrupted.
    """
    options, machine, threads = job.options, job.machine, job.threads
    if options.joint:
        return tuned.choice
    if options.trials == 0:
        path = options.records
        choices = read_choices(path) if path is not None and path.exists() else []
        choice = choice_for(choices, parts, threads, machine.line)
        if choice is not None:
            job.log(f"kernels as they were chosen in the network: {choice}")
        return choice
    if tuned.stopped == "interrupted":
        return None
    job.log("choosing kernels by their time in the network")
    choice = choose_programs(graph, parts, tuned.records, machine=machine, threads=threads, feeds=feeds)
    with RecordFiles(sinks(options)) as files:
        files.append(choice)
    job.log(f"kernels: {choice}")
    return choice
