"""A process that holds one library's programs for a network and runs them when it is told.

`operator_worker` says why every library has a process of its own.

    {"load": PATH, "feeds": FILE, "slow": BOOL} → {"programs": [NAME, ...]}, with those that take minutes if "slow"
    {"turn": NAME, "seconds": S, "warm": W, "calls": C} → {"seconds": per call}
    {"answer": NAME, "file": PATH} → {}, with the outputs in the file, numbered

PATH is the folder of a compiled network for us, an ONNX file for others; FILE holds the inputs, numbered.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.operator_worker import OURS, turn

Program = Callable[[], Sequence[np.ndarray]]
OURS_WINOGRAD = "ours with Winograd"
EAGER, EAGER_LAST, COMPILED = "torch", "torch channels last", "torch.compile"


def numbered(path: str) -> list[np.ndarray]:
    """The arrays of a file in order."""
    with np.load(path) as file:
        return [file[f"arr_{number}"] for number in range(len(file.files))]


def save_numbered(path: str | Path, arrays: Sequence[np.ndarray]) -> None:
    """Write arrays so that `numbered` reads them."""
    with Path(path).open("wb") as file:
        np.savez(file, *arrays)


def ours(
    path: str, feeds: Sequence[np.ndarray], threads: int, slow: bool = True, name: str = OURS
) -> dict[str, Program]:
    """A compiled network on arrays that start on cache lines."""
    from runtime.compiled_network import CompiledNetwork

    network = CompiledNetwork.load(path)
    bound = network.bind(dict(zip(network.inputs, feeds, strict=True)))

    def run() -> Sequence[np.ndarray]:
        bound()
        return list(bound.outputs.values())

    return {name: run}


def onnxruntime(path: str, feeds: Sequence[np.ndarray], threads: int, slow: bool = True) -> dict[str, Program]:
    """A session with all of its optimisations."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    named = dict(zip((value.name for value in session.get_inputs()), feeds, strict=True))
    return {"onnxruntime": lambda: list(session.run(None, named))}


def torch(path: str, feeds: Sequence[np.ndarray], threads: int, slow: bool = True) -> dict[str, Program]:
    """Eager, in both orders of channels where there are images; and compiled with its weights frozen."""
    import torch as library

    from runtime.onnx_import import import_onnx
    from tests.benchmarks.torch_graph import torch_module

    library.set_num_threads(threads)
    shapes = {name: array.shape for name, array in zip(import_names(path), feeds, strict=True)}
    module = torch_module(import_onnx(path, shapes).fold_constants())
    plain = [library.from_numpy(array) for array in feeds]

    def program(function: Callable[..., Any], tensors: Sequence[Any]) -> Program:
        def run() -> Sequence[np.ndarray]:
            with library.inference_mode():
                return [value.numpy() for value in function(*tensors)]

        return run

    programs = {EAGER: program(module, plain)}
    dimensions = {weight.dim() for weight in module.parameters()}
    images = {4: library.channels_last, 5: library.channels_last_3d}
    rank = max(dimensions & set(images), default=None)
    if rank is not None:
        last = torch_module(import_onnx(path, shapes).fold_constants())
        for weight in last.parameters():
            if weight.dim() == rank:
                weight.data = weight.data.contiguous(memory_format=images[rank])
        tensors = [x.contiguous(memory_format=images[rank]) if x.dim() == rank else x for x in plain]
        programs[EAGER_LAST] = program(last, tensors)
    if slow:
        library._inductor.config.freezing = True
        compiled = program(library.compile(module), plain)
        try:
            compiled()
            programs[COMPILED] = compiled
        except (RuntimeError, OSError) as error:
            print(f"{COMPILED} failed: {error}", file=sys.stderr)
    return programs


def import_names(path: str) -> list[str]:
    """The names of an ONNX file's inputs, without its weights."""
    import onnx

    graph = onnx.load(path, load_external_data=False).graph
    weights = {tensor.name for tensor in graph.initializer}
    return [value.name for value in graph.input if value.name not in weights]


LIBRARIES = {OURS: ours, OURS_WINOGRAD: partial(ours, name=OURS_WINOGRAD), "onnxruntime": onnxruntime, "torch": torch}


def serve(library: str, threads: int) -> None:
    """Answer requests until the input ends."""
    programs: dict[str, Program] = {}
    for line in sys.stdin:
        request = json.loads(line)
        answer: dict[str, Any] = {}
        if "load" in request:
            programs = LIBRARIES[library](request["load"], numbered(request["feeds"]), threads, request["slow"])
            answer["programs"] = list(programs)
        elif "turn" in request:
            answer["seconds"] = turn(programs[request["turn"]], request["seconds"], request["warm"], request["calls"])
        else:
            save_numbered(request["file"], programs[request["answer"]]())
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]))
