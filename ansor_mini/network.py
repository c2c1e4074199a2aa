"""A whole graph as kernels: choose a loop nest for every subgraph and put them together.

Paper: Ansor §3

`plain_nest`, `unsearched_nest` and the best records of a search each give a loop nest per subgraph key; `assemble`
turns a graph and such a choice into a `runtime.network.Network`, which `runtime.executor` compiles.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from ansor_mini.concat_fusion import join_concats
from ansor_mini.data_movement import concat_nest, split_nest
from ansor_mini.gpu_movement import gpu_movement_nest
from ansor_mini.layout_rewrite import rewrite_layout
from ansor_mini.lowering import lower
from ansor_mini.operators import declare
from ansor_mini.partition import Subgraph, partition
from ansor_mini.schedule import initial_state, replay
from ansor_mini.target import Device, target_of
from runtime.gpu import Gpu
from runtime.graph import Graph, Node
from runtime.layout import is_view
from runtime.loop_nest import LoopNest
from runtime.network import KernelCall, Network

Nests = Mapping[str, LoopNest]


def plain_nest(part: Subgraph) -> LoopNest:
    """The loops as declared, one thread: what a reader would write first."""
    return lower(initial_state(declare(part.fragment)))


def nests_for(parts: Sequence[Subgraph], choose: Callable[[Subgraph], LoopNest]) -> dict[str, LoopNest]:
    """One loop nest for every distinct compute subgraph, named after its first operator and numbered."""
    chosen: dict[str, LoopNest] = {}
    for part in parts:
        if part.kind == "compute" and part.key not in chosen:
            chosen[part.key] = replace(choose(part), name=f"{part.anchor.operator}_{len(chosen)}")
    return chosen


def plain_network(graph: Graph) -> Network:
    """Every operator a kernel of its own, in plain loops."""
    parts = partition(graph, fuse=False)
    return assemble(graph, parts, nests_for(parts, plain_nest), threads=1, optimize=False)


def default_network(graph: Graph, device: Device, threads: int = 1) -> Network:
    """Fused subgraphs under the heuristic schedule of a machine's cores or a GPU, without search."""
    parts = partition(graph)
    nests = nests_for(parts, lambda part: unsearched_nest(part, device, threads))
    return assemble(graph, parts, nests, threads=threads, gpu=device if isinstance(device, Gpu) else None)


def unsearched_nest(part: Subgraph, device: Device, threads: int = 1) -> LoopNest:
    """The default schedule of a fused subgraph on a machine's cores or a GPU, lowered."""
    dag = declare(part.fragment)
    return lower(replay(dag, target_of(device, threads).default(dag)))


def assemble(
    graph: Graph,
    parts: Sequence[Subgraph],
    nests: Nests,
    *,
    threads: int = 1,
    optimize: bool = True,
    gpu: Gpu | None = None,
) -> Network:
    """Put the kernels of a partitioned graph together.

    optimize: store weights as their kernels read them, let kernels write straight into concatenated tensors, and read
        the pieces of a split where they are, if they are whole.
    gpu: what the nests are for, when that is a GPU; weights stay as they are there.
    Raises: KeyError: a compute subgraph has no loop nest.
    """
    calls: list[KernelCall] = []
    aliases: dict[str, str] = {}
    starts: dict[str, int] = {}
    weights = dict(graph.weights)
    for part in parts:
        if part.kind == "compute":
            call = KernelCall(nests[part.key], part.inputs, part.outputs)
            calls.append(_packed(call, weights) if optimize and gpu is None else call)
        elif optimize and part.anchor.operator == "split" and is_view(part.anchor, [graph.types[part.inputs[0]]]):
            start = 0
            for value in part.outputs:
                aliases[value], starts[value] = part.inputs[0], start
                start += graph.types[value].nbytes
        elif part.kind == "movement":
            name = f"{part.anchor.operator}_{len(calls)}"
            nest = gpu_movement_nest(graph, part.anchor, gpu, name) if gpu else None
            nest = nest or movement_nest(graph, part.anchor, threads, name)
            # A concat may read one value several times; a subgraph names it once.
            calls.append(KernelCall(nest, part.anchor.inputs, part.outputs))
        else:
            aliases[part.outputs[0]] = part.inputs[0]
    if optimize:
        calls = join_concats(graph, calls)
    read = {value for call in calls for value in call.inputs} | set(aliases.values()) | set(graph.outputs)
    return Network(
        name=graph.name,
        inputs=dict(graph.inputs),
        outputs={name: graph.types[name] for name in graph.outputs},
        weights={name: array for name, array in weights.items() if name in read},
        values=dict(graph.types),
        calls=tuple(calls),
        aliases=aliases,
        starts=starts,
    )


def _packed(call: KernelCall, weights: dict[str, np.ndarray]) -> KernelCall:
    """The call reading its weights packed; what it packs is added to `weights`.  Paper: Ansor §4.2."""
    nest, values = call.nest, list(call.inputs)
    for position, (buffer, value) in enumerate(zip(nest.inputs, call.inputs, strict=True)):
        if value not in weights or len(buffer.shape) < 2:
            continue
        rewritten = rewrite_layout(nest, buffer.name)
        if rewritten is None:
            continue
        nest, packing = rewritten
        values[position] = f"{value} packed for {nest.name}"
        if values[position] not in weights:
            weights[values[position]] = packing.pack(weights[value].reshape(buffer.shape))
    return KernelCall(nest, tuple(values), call.outputs)


def movement_nest(graph: Graph, node: Node, threads: int, name: str) -> LoopNest:
    """The copies that a concat or split of a graph stands for."""
    first = graph.types[node.inputs[0]]
    axis = node["axis"] % first.rank
    if node.operator == "concat":
        return concat_nest([graph.types[value].shape for value in node.inputs], axis, first.dtype, name, threads)
    return split_nest(first.shape, node["sizes"], axis, first.dtype, name, threads)
