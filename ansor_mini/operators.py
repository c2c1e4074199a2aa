"""Graph operators as tensor expressions, one entry per operator.

Paper: Ansor §7

`declare(fragment)` turns a small `runtime.graph.Graph` (a fused subgraph whose weights are plain inputs) into a
`ComputeDAG` whose placeholders are the fragment's inputs in order. Each entry of `DEFINITIONS` is a function of a node,
its operands' tensors and its result's type; adding an operator is one function and one entry in its family's table.

What has no arithmetic (concat, split, reshape) is not declared here: see `ansor_mini.data_movement`.
"""

from __future__ import annotations

from dataclasses import replace

from ansor_mini.compute_dag import ComputeDAG
from ansor_mini.definitions.base import Definition
from ansor_mini.definitions.elementwise import ELEMENTWISE
from ansor_mini.definitions.reduction import REDUCTION
from ansor_mini.definitions.transposed import TRANSPOSED
from ansor_mini.definitions.window import WINDOW
from ansor_mini.definitions.winograd import WINOGRAD
from ansor_mini.sketch_hints import ALWAYS_INLINE
from ansor_mini.tensor_expression import Tensor, placeholder
from runtime.graph import Graph, Node

EXPENSIVE = frozenset(("sigmoid", "tanh", "exp", "erf"))  # not computed twice; see `dag_analysis`
DEFINITIONS: dict[str, Definition] = {**ELEMENTWISE, **WINDOW, **TRANSPOSED, **WINOGRAD, **REDUCTION}


class UndeclaredOperator(ValueError):
    """The graph holds an operator that has no tensor expression."""


def declare(fragment: Graph) -> ComputeDAG:
    """Build the compute DAG of a fused subgraph; its inputs are placeholders in the fragment's order.

    Raises: UndeclaredOperator: an operator without a definition, all of them named.
    """
    missing = sorted({node.operator for node in fragment.nodes} - set(DEFINITIONS))
    if missing:
        known = ", ".join(sorted(DEFINITIONS))
        raise UndeclaredOperator(f"no tensor expression for {', '.join(missing)}; there is one for {known}")
    tensors = {name: placeholder(kind.shape, name, kind.dtype) for name, kind in fragment.inputs.items()}
    for node in fragment.nodes:
        output = node.outputs[0]
        operands = [tensors[name] for name in node.inputs]
        tensor = DEFINITIONS[node.operator](node, operands, fragment.types[output])
        tensors[output] = _inlined(tensor) if _computed_where_read(fragment, node) else tensor
    return ComputeDAG([tensors[name] for name in fragment.outputs], [tensors[name] for name in fragment.inputs])


def _computed_where_read(fragment: Graph, node: Node) -> bool:
    """Whether a function of single elements has one reader, of the same shape, which computes it but once."""
    users = fragment.users(node.outputs[0])
    alone = node.operator in EXPENSIVE and len(users) == 1 and node.outputs[0] not in fragment.outputs
    return alone and users[0].operator in ELEMENTWISE and users[0].inputs.count(node.outputs[0]) == 1


def _inlined(tensor: Tensor) -> Tensor:
    return replace(tensor, attributes={**tensor.attributes, ALWAYS_INLINE: True})
