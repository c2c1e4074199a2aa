"""What a search is for: a machine's cores or a GPU, with the rules, default schedule and limits that go with it.

Paper: Ansor §3

`cpu_target` and `cuda_target` make them; a tuner asks a target for whatever depends on the kind of machine.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Union

import numpy as np

from ansor_mini.admission import not_worth_building
from ansor_mini.compute_dag import ComputeDAG
from ansor_mini.cost_model import CostModel, TrivialModel
from ansor_mini.cpu_rules.extended import extended_rules
from ansor_mini.default_gpu_schedule import default_gpu_steps
from ansor_mini.default_schedule import default_steps
from ansor_mini.guided_model import GuidedModel
from ansor_mini.learned_model import LearnedModel
from ansor_mini.schedule import Step
from ansor_mini.sketch_rules import Rule
from ansor_mini.task import SearchOptions
from runtime.gpu import Gpu
from runtime.gpu_model import predict, refusal
from runtime.loop_nest import LoopNest
from runtime.machine import Machine

RETRAIN = 0.1  # growth of the data after which it is trained again
GPU_STRUCTURE = "SSSRRSRS"  # Paper: Ansor §4.3
SCREEN = 3  # programs for a GPU that its model looks at for each one that is measured

Device = Union[Machine, Gpu]


@dataclass(frozen=True)
class Target:
    """A kind of machine that programs are searched for.

    rules: the derivation rules, given the inputs that are weights. admit: why a lowered program is dropped before it
    is measured, empty when it is not. default: the steps of a decent schedule without search. estimate: seconds of a
    lowered program without running it; None where there is no such model.
    """

    name: str
    device: Device
    options: SearchOptions
    rules: Callable[[Collection[str]], Sequence[Rule]]
    default: Callable[[ComputeDAG], tuple[Step, ...]]
    admit: Callable[[LoopNest], str]
    model: Callable[[np.random.Generator], CostModel]
    estimate: Callable[[LoopNest], float] | None = None


def cpu_target(machine: Machine, threads: int = 1) -> Target:
    """The cores of a machine."""
    return Target(
        "cpu",
        machine,
        SearchOptions(),
        extended_rules,
        lambda dag: default_steps(dag, machine, threads),
        lambda nest: not_worth_building(nest, threads),
        # Boosted trees, as the paper's, on top of a simple estimate; `LearnedModel` is the paper's alone.
        lambda rng: GuidedModel(rng, TrivialModel(machine, threads), machine=machine, retrain=RETRAIN),
    )


def cuda_target(gpu: Gpu) -> Target:
    """A GPU.  Paper: Ansor §4.3"""
    from ansor_mini.gpu_rules.mutations import GPU_MUTATIONS
    from ansor_mini.gpu_rules.rules import EXTENDED_GPU_RULES

    return Target(
        "cuda",
        gpu,
        SearchOptions(structure=GPU_STRUCTURE, mutations=GPU_MUTATIONS, screen=SCREEN),
        lambda constants: EXTENDED_GPU_RULES,
        lambda dag: default_gpu_steps(dag, gpu),
        lambda nest: not_worth_launching(nest, gpu),
        lambda rng: LearnedModel(rng, machine=gpu, retrain=RETRAIN),
        lambda nest: predict(nest, gpu).seconds,
    )


def target_of(device: Device, threads: int = 1) -> Target:
    """The target that a machine or a GPU is.

    >>> from runtime.gpu import gpu
    >>> target_of(gpu("h100")).options.structure
    'SSSRRSRS'
    """
    return cuda_target(device) if isinstance(device, Gpu) else cpu_target(device, threads)


def not_worth_launching(nest: LoopNest, gpu: Gpu) -> str:
    """Why a program for a GPU is dropped: what could not be launched, and what has no CUDA text."""
    from runtime.emit_cuda import EmitError, emit_cuda

    reason = refusal(nest, gpu)
    if reason:
        return f"infeasible: {reason}"
    try:
        emit_cuda(nest)
    except EmitError as error:
        return f"no CUDA: {error}"
    return ""
