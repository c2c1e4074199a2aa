"""The paper's operators and subgraphs for a GPU without one: tuned with the model, checked on the CPU, built by nvcc.

Paper: Ansor §7.1, §7.2

For each of the ten operators and two subgraphs in four shapes:

1. search for a program, with the model of an H100 in place of measurements: nothing here is a time of a GPU;
2. run the best program's CUDA on the CPU, thread by thread and under all checks, and compare with NumPy;
3. build the same text with nvcc for sm_90, warnings being errors, and note registers and spills.

Each finished case is a line of `results/cuda-operators.jsonl`; cases that are there are not done again, and the small
ones come first, since the checked run of the largest takes minutes. `--quick` does the cheapest cases anew with few
trials and reports the recorded ones beside them.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from ansor_mini.compute_dag import ComputeDAG
from ansor_mini.local_measurer import case_of
from ansor_mini.model_measurer import ModelMeasurer, checked_mistake
from ansor_mini.sketch import Program, Sketch
from ansor_mini.target import cuda_target
from ansor_mini.tuner import Task, tune
from ansor_mini.workloads import PAPER_SUBGRAPHS, WORKLOADS, parse_workload
from runtime.command_line import Parser
from runtime.compile_cuda import CudaCompileError, NvccNotFound, compile_cuda
from runtime.emit_cuda import emit_cuda
from runtime.gpu import gpu
from runtime.gpu_model import predict
from runtime.loop_nest import LoopNest
from runtime.measure_case import MeasureCase
from tests.benchmarks.command import RESULTS, main
from tests.benchmarks.operator_cases import CASES

RECORDED = RESULTS / "cuda-operators.jsonl"
DEVICE = gpu("h100")
SUBGRAPHS = tuple(
    f"{family}:{','.join(map(str, numbers))}" for family in PAPER_SUBGRAPHS for numbers in WORKLOADS[family].shapes
)
WORKLOAD_TEXTS = (*(case.text for case in CASES), *SUBGRAPHS)
QUICK_CASES, QUICK_TRIALS = ("NRM:256,256", "matmul:128,128,128"), 16


def inputs_and_outputs(dag: ComputeDAG, workload: str) -> MeasureCase:
    """What the program is run on; a large matrix product by BLAS, since a DAG evaluates slowly."""
    rng = np.random.default_rng(0)
    if not workload.startswith("matmul:"):
        return case_of(dag, rng)
    a, b = (rng.integers(-3, 4, tensor.shape).astype(np.float32) for tensor in dag.inputs)
    return MeasureCase([a, b], [a @ b])


def tuned(workload: str, trials: int, seed: int = 0) -> dict[str, Any]:
    """Search with the model, then check and build the best program; one line of the record."""
    started = time.monotonic()
    dag = parse_workload(workload)
    default = Program(Sketch(dag, cuda_target(DEVICE).default(dag)))
    result = tune(
        Task(dag.key(), dag),
        trials=trials,
        rng=np.random.default_rng(seed),
        measurer=ModelMeasurer(DEVICE),
        machine=DEVICE,
        seeds=[default],
    )
    found: dict[str, Any] = {"workload": workload, "gpu": DEVICE.name, "source": "model", "trials": result.trials}
    found["rejections"] = dict(result.rejections.most_common(5))
    if result.best is None:
        return found | {"checked": "no program"}
    nest = result.best.lower()
    found |= {"steps": result.best.sketch.key, "annotation": result.best.annotation}
    found |= {"predicted_us": round(result.best_seconds * 1e6, 2), "predicted_gflops": round(result.gflops, 1)}
    found |= {"default_us": round(predict(default.lower(), DEVICE).seconds * 1e6, 2)}
    found |= {"limit": predict(nest, DEVICE).limit, **verified(nest, inputs_and_outputs(dag, workload))}
    return found | {"took_seconds": round(time.monotonic() - started, 1)}


def verified(nest: LoopNest, case: MeasureCase) -> dict[str, Any]:
    """What the checked run on the CPU says ("ok", or what is wrong), and what nvcc says."""
    found: dict[str, Any] = {"checked": checked_mistake(nest, case) or "ok"}
    try:
        kernels = compile_cuda(emit_cuda(nest).text, DEVICE.arch).kernels.values()
    except NvccNotFound:
        return found | {"nvcc": "not here"}
    except CudaCompileError as error:
        return found | {"nvcc": "\n".join(str(error).splitlines()[:5])}
    found["nvcc"] = "ok"
    found["registers"] = max(kernel.registers for kernel in kernels)
    found["spilled_bytes"] = sum(kernel.spill_stores + kernel.spill_loads for kernel in kernels)
    return found


def recorded(path: Path = RECORDED) -> dict[str, dict[str, Any]]:
    """The finished cases, by workload; the last line of each counts."""
    if not path.exists():
        return {}
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    return {line["workload"]: line for line in lines}


def add_arguments(parser: Parser) -> None:
    """Declare what a long run takes."""
    parser.add_argument("--trials", type=int, default=64, help="programs of each case (default: 64)")
    parser.add_argument("--budget-seconds", type=float, default=3600.0, help="begin no case after this long")
    parser.add_argument("--only", default="", help="cases whose text contains this")


def benchmark(quick: bool, options: Any) -> dict[str, Any]:
    """Do what is missing, print the table, and count."""
    deadline = time.monotonic() + (50.0 if quick else options.budget_seconds)
    done = recorded()
    fresh = {}
    for workload in QUICK_CASES if quick else sorted(WORKLOAD_TEXTS, key=lambda text: parse_workload(text).flops):
        if time.monotonic() > deadline or (not quick and (workload in done or options.only not in workload)):
            continue
        line = tuned(workload, QUICK_TRIALS if quick else options.trials)
        fresh[workload] = line
        _print(line)
        if not quick:
            with RECORDED.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
    if quick:
        _table(done)
    else:
        done |= fresh
    return {"gpu": DEVICE.name, "source": "model", **counts(done), "now": counts(fresh)}


def counts(lines: dict[str, dict[str, Any]]) -> dict[str, int]:
    """How many cases there are, and how many of their best programs passed."""
    return {
        "cases": len(lines),
        "checked": sum(line["checked"] == "ok" for line in lines.values()),
        "compiled": sum(line.get("nvcc") == "ok" for line in lines.values()),
        "spilling": sum(line.get("spilled_bytes", 0) > 0 for line in lines.values()),
    }


def _table(lines: dict[str, dict[str, Any]]) -> None:
    sys.stdout.write(f"recorded; times are predictions of a model of {DEVICE.name}, not measurements\n")
    for workload in WORKLOAD_TEXTS:
        if workload in lines:
            _print(lines[workload])


def _print(line: dict[str, Any]) -> None:
    if "predicted_us" not in line:
        sys.stdout.write(f"{line['workload']:36} {line['checked']}\n")
        return
    speedup = line["default_us"] / line["predicted_us"]
    text = (
        f"{line['workload']:36} {line['predicted_us']:10.1f} us predicted ({speedup:5.1f} x default, {line['limit']})"
    )
    built = f"{line.get('registers', '?')} registers, {line.get('spilled_bytes', '?')} bytes spilled"
    sys.stdout.write(f"{text}; checked: {line['checked'][:60]}; nvcc: {line['nvcc'][:40]}, {built}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main("cuda_operators", benchmark, __doc__.splitlines()[0], add_arguments))
