"""New names for buffers and loop variables of a nest."""

from __future__ import annotations

from dataclasses import dataclass, field

from runtime.expr import Var
from runtime.loop_nest import Allocate, For, LoopNest, walk_stmts


@dataclass
class Names:
    """The names taken so far."""

    taken: set[str] = field(default_factory=set)

    @staticmethod
    def of(nest: LoopNest) -> Names:
        """All names in a nest."""
        names = {buffer.name for buffer in (*nest.inputs, *nest.outputs)}
        for stmt in walk_stmts(nest.body):
            if isinstance(stmt, Allocate):
                names.add(stmt.buffer.name)
            elif isinstance(stmt, For):
                names.add(stmt.var.name)
        return Names(names)

    def fresh(self, name: str) -> str:
        """The name itself when it is free, else with a number.

        >>> names = Names({"T"})
        >>> names.fresh("T"), names.fresh("T"), names.fresh("i")
        ('T2', 'T3', 'i')
        """
        number, candidate = 1, name
        while candidate in self.taken:
            number += 1
            candidate = f"{name}{number}"
        self.taken.add(candidate)
        return candidate

    def variable(self, name: str) -> Var:
        """A loop variable of a new name."""
        return Var(self.fresh(name))
