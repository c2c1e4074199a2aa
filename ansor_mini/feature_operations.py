"""How many operations of each kind one iteration of a statement takes.

Paper: Ansor App. B

>>> from ansor_mini.schedule_examples import matmul
>>> C = matmul(8, 8, 8)["C"]
>>> counts, uses = count_operations(C, C.expression)
>>> {name: count for name, count in zip(OPERATIONS, counts) if count}, uses
({'float_mad': 1}, {'i': 2, 'j': 2, 'k': 2})
"""

from __future__ import annotations

from collections import Counter

from ansor_mini.feature_names import OPERATIONS
from ansor_mini.tensor_expression import COMBINERS, Tensor
from runtime.expr import COMPARISONS, LOGICAL, Binary, Call, Cast, Expr, Load, Select, Var
from runtime.expr_tree import children

_COLUMNS = {"+": "addsub", "-": "addsub", "*": "mul", "/": "divmod", "//": "divmod", "%": "divmod"}
_COLUMNS |= dict.fromkeys(("min", "max", *COMPARISONS), "cmp")


def count_operations(tensor: Tensor, body: Expr) -> tuple[tuple[int, ...], dict[str, int]]:
    """The operations of one iteration, in the order of `OPERATIONS`, and how often indices name each axis.

    A product that is added to something is one multiply-add. Index arithmetic that the expression spells out counts as
    integer operations; what the loops add to it does not.
    """
    counter = _Counter()
    if tensor.combiner is None:
        counter.visit(body)
    else:
        accumulator = Load(tensor, tuple(tensor.axes))
        counter.visit(Binary(COMBINERS[tensor.combiner][0], accumulator, body))
    return tuple(counter.counts[name] for name in OPERATIONS), dict(counter.uses)


class _Counter:
    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.uses: Counter[str] = Counter()

    def visit(self, node: Expr) -> None:
        """Count a node and everything below it."""
        if isinstance(node, Var):
            self.uses[node.name] += 1
        parts = children(node)
        if isinstance(node, Select):
            self.counts["select_op"] += 1
        elif isinstance(node, Binary) and node.op in LOGICAL:
            self.counts["bool_op"] += 1
        elif isinstance(node, Binary):
            kind = "float" if node.a.dtype.startswith("float") else "int"
            column = _COLUMNS[node.op]
            product = next((part for part in parts if isinstance(part, Binary) and part.op == "*"), None)
            if column == "addsub" and product is not None:
                column = "mad"
                parts = tuple(part for part in parts if part is not product) + (product.a, product.b)
            self.counts[f"{kind}_{column}"] += 1
        elif isinstance(node, Call):
            self.counts["float_mathfunc" if node.dtype.startswith("float") else "int_mathfunc"] += 1
        elif isinstance(node, Cast):
            self.counts["float_otherfunc" if node.dtype.startswith("float") else "int_otherfunc"] += 1
        for part in parts:
            self.visit(part)
