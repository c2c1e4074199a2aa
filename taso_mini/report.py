"""What `compile` tells: a table for people, an object for machines, a page for the output directory.

All three come from the same `Compiled`.
"""

from __future__ import annotations

from typing import Any

from runtime.compiled_network import CompiledNetwork
from taso_mini.compile_model import DEFAULT, PEER, PLAIN, TUNED, Compiled

SCHEMA = 1


def figures(compiled: Compiled) -> dict[str, float | None]:
    """The ratios that sum a run up; None where a variant was not timed."""

    def times_faster(name: str) -> float | None:
        return round(compiled.latency[name] / compiled.latency[TUNED], 3) if name in compiled.latency else None

    return {
        "speedup_over_plain": times_faster(PLAIN),
        "speedup_over_default": times_faster(DEFAULT),
        "vs_onnxruntime": times_faster(PEER),
        "max_relative_error": compiled.max_relative_error,
    }


def as_json(compiled: Compiled) -> dict[str, Any]:
    """Everything, as plain lists and dictionaries."""
    return {
        "schema": SCHEMA,
        "model": compiled.model,
        "machine": compiled.machine.line,
        "threads": compiled.threads,
        "seed": compiled.seed,
        "cost_before": compiled.substitution.cost_before,
        "cost_after": compiled.substitution.cost_after,
        "substitutions": compiled.substitution.trace.to_json()["steps"],
        "trials": compiled.trials,
        "stopped": compiled.stopped,
        "tasks": [
            {
                "task": task.label,
                "weight": task.weight,
                "trials": task.trials,
                "default_seconds": task.default_seconds,
                "best_seconds": task.best_seconds,
                "gflops": round(task.gflops, 2),
                "failures": dict(task.failures),
            }
            for task in compiled.tasks
        ],
        "kernels_chosen_by": compiled.choice.fastest if compiled.choice is not None else None,
        "choice_seconds": dict(compiled.choice.seconds) if compiled.choice is not None else {},
        "latency_seconds": dict(compiled.latency),
        "errors": dict(compiled.errors),
        **figures(compiled),
        "memory": {
            "workspace_bytes": compiled.network.description["workspace_bytes"],
            "lower_bound_bytes": compiled.network.description["live_lower_bound"],
            "values_bytes": compiled.network.description["values_bytes"],
            "weights_bytes": compiled.network.weights_bytes,
        },
        "directory": None if compiled.network.temporary else str(compiled.network.directory),
        "c_directory": None if compiled.emitted is None else str(compiled.emitted),
    }


def as_text(compiled: Compiled) -> str:
    """The table for people."""
    lines = [
        f"{compiled.model} on {compiled.machine.line}; {compiled.threads} threads, seed {compiled.seed}",
        "",
        "substitutions (operators priced one by one, those that get fused at a tenth)",
        str(compiled.substitution.trace),
        "",
    ]
    if compiled.tasks:
        lines.append(f"kernels: {compiled.trials} programs measured, stopped by {compiled.stopped}")
        lines += [*_task_lines(compiled), ""]
    if compiled.choice is not None and compiled.choice.seconds:
        lines += [f"by their time in the network: {compiled.choice}", ""]
    if compiled.latency:
        lines += ["latency of one inference", *_latency_lines(compiled), ""]
    lines.append(f"largest error against the NumPy reference: {compiled.max_relative_error:.1e}")
    lines.append(_memory_line(compiled.network))
    if compiled.network.temporary:
        lines.append("not kept; --out DIR keeps the compiled network")
    else:
        lines.append(f"written to {compiled.network.directory}")
    if compiled.emitted is not None:
        lines.append(f"C program in {compiled.emitted}; its README.md says how to build it")
    return "\n".join(lines)


def _memory_line(network: CompiledNetwork) -> str:
    """The plan's peak beside what it would be without reuse, and what no plan could undercut."""
    sizes = (network.description[key] / 1e6 for key in ("workspace_bytes", "values_bytes", "live_lower_bound"))
    peak, values, bound = (f"{size:.2f} MB" for size in sizes)
    return f"memory: {peak} for values of {values} in all; {bound} are alive at one moment"


def _task_lines(compiled: Compiled) -> list[str]:
    width = max(len(task.label) for task in compiled.tasks)
    lines = [f"  {'':{width}} {'runs':>5} {'trials':>6} {'default us':>11} {'best us':>9} {'GFLOP/s':>8}"]
    for task in sorted(compiled.tasks, key=lambda task: -task.weight * task.best_seconds):
        failed = "".join(f"  {count} {kind}" for kind, count in task.failures.items())
        lines.append(
            f"  {task.label:{width}} {task.weight:5} {task.trials:6} {task.default_seconds * 1e6:11.1f}"
            f" {task.best_seconds * 1e6:9.1f} {task.gflops:8.1f}{failed}"
        )
    return lines


def _latency_lines(compiled: Compiled) -> list[str]:
    tuned = compiled.latency[TUNED]
    return [
        f"  {name:18} {seconds * 1e3:10.3f} ms   {seconds / tuned:7.2f} x ours"
        for name, seconds in compiled.latency.items()
    ]


def as_markdown(compiled: Compiled) -> str:
    """The page `report.md`: the table, and the hottest kernel's loop nest before and after."""
    lines = [f"# {compiled.model}", "", "```", as_text(compiled), "```", ""]
    if compiled.hottest:
        lines += ["## The hottest kernel", "", "What it computes:", "", "```", compiled.hottest, "```", ""]
        lines += ["In plain loops:", "", "```python", str(compiled.before), "```", ""]
        lines += ["As compiled:", "", "```python", str(compiled.after), "```", ""]
    return "\n".join(lines)
