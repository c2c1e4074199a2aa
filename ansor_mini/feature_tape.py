"""Arithmetic that is written down once and then run on arrays.

A tape holds the operations between symbols (`feature_symbols`). Equal ones are written down once, and what the results
do not need is left out. Its program computes the results from arrays.

>>> from ansor_mini.feature_symbols import where
>>> tape = Tape()
>>> a, b = tape.input("a", 1, 8), tape.input("b", 1, 4)
>>> a > 0, a * 1 is a, np.minimum(a, 9) is a
(True, True, True)
>>> program = tape.compile([where(a < b, a * b, 0), a * b])
>>> [array.tolist() for array in program.run({"a": np.array([2.0, 5.0]), "b": np.array([4.0, 3.0])})]
[[8.0, 0.0], [8.0, 15.0]]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Union

import numpy as np

from ansor_mini.feature_symbols import Operation, Symbol

__all__ = ["Tape", "TapeProgram"]

Scalar = Union[int, float, bool]

# A program makes and drops hundreds of small arrays. The C library gives memory at the end of its heap back to the
# system, and has it paged in anew, until a large block was freed once; after that it keeps up to twice as much.
_large = np.empty(30 << 20, dtype=np.uint8)
del _large


class Tape:
    """Operations in the order in which they were written down."""

    def __init__(self) -> None:
        self.nodes: list[tuple[Operation | str, tuple[Any, ...]]] = []
        self.sources: list[tuple[int, ...]] = []
        self.known: dict[tuple[Any, ...], Symbol] = {}

    def input(self, name: str, low: float, high: float) -> Symbol:
        """A number that is given when the tape runs."""
        return self.node(name, (), low, high)

    def node(self, operation: Operation | str, args: tuple[Any, ...], low: float, high: float,
             is_bool: bool = False) -> Symbol:  # fmt: skip
        """The result of an operation, which is written down unless it has been before."""
        # numbers and the numbers of nodes must not be taken for each other
        key = (operation, *(a.index if a.__class__ is Symbol else (a,) for a in args))
        symbol = self.known.get(key)
        if symbol is None:
            symbol = self.known[key] = Symbol(self, len(self.nodes), low, high, is_bool)
            self.nodes.append((operation, args))
            self.sources.append(tuple(a.index for a in args if a.__class__ is Symbol))
        return symbol

    def compile(self, results: Sequence[Any]) -> TapeProgram:
        """The program that computes some results: symbols, or numbers, which stay what they are."""
        return _compile(self, results)


@dataclass(frozen=True, eq=False)
class TapeProgram:
    """Instructions over registers. A register is written again as soon as nobody needs what it holds.

    inputs: name and register. start: the registers before the first instruction, with all constants.
    instructions: operation, register of the result, registers of up to three operands.
    """

    inputs: tuple[tuple[str, int], ...]
    start: tuple[Any, ...]
    instructions: tuple[tuple[Any, ...], ...]
    results: tuple[int, ...]

    def only(self, results: Sequence[int]) -> TapeProgram:
        """The program of some of the results, given by their positions; what they do not need is left out.

        >>> tape = Tape()
        >>> a = tape.input("a", 1, 8)
        >>> program = tape.compile([a + 1, a * a]).only([1])
        >>> len(program.instructions), [array.tolist() for array in program.run({"a": np.array([2.0, 5.0])})]
        (1, [[4.0, 25.0]])
        """
        wanted = tuple(self.results[position] for position in results)
        needed, kept = set(wanted), []
        for instruction in reversed(self.instructions):
            _, target, *operands = instruction
            if target in needed:
                needed.discard(target)
                needed.update(operand for operand in operands if operand is not None)
                kept.append(instruction)
        inputs = tuple((name, register) for name, register in self.inputs if register in needed)
        return TapeProgram(inputs, self.start, tuple(reversed(kept)), wanted)

    def run(self, inputs: Mapping[str, np.ndarray]) -> list[Any]:
        """The results, arrays where they depend on an input."""
        registers = list(self.start)
        for name, register in self.inputs:
            registers[register] = inputs[name]
        for operation, target, a, b, c in self.instructions:
            if c is not None:
                registers[target] = operation(registers[a], registers[b], registers[c])
            elif b is not None:
                registers[target] = operation(registers[a], registers[b])
            else:
                registers[target] = operation(registers[a])
        return [registers[register] for register in self.results]


def _compile(tape: Tape, results: Sequence[Any]) -> TapeProgram:
    needed = _needed(tape, results)
    last = {index: position for position, index in enumerate(needed) for index in tape.sources[index]}
    kept = {result.index for result in results if isinstance(result, Symbol)}
    start: list[Any] = []
    constants: dict[tuple[type, Scalar], int] = {}
    register: dict[int, int] = {}
    free: list[int] = []
    inputs: list[tuple[str, int]] = []
    instructions: list[tuple[Any, ...]] = []

    def place(value: Any) -> int:
        if isinstance(value, Symbol):
            return register[value.index]
        key = (type(value), value)
        if key not in constants:
            constants[key] = len(start)
            # NumPy takes longer to find out what to do with a Python number than to multiply a few hundred by it.
            start.append(np.asarray(value, dtype=bool if isinstance(value, bool) else np.float64))
        return constants[key]

    for position, index in enumerate(needed):
        operation, args = tape.nodes[index]
        done = {source for source in tape.sources[index] if last[source] == position and source not in kept}
        if operation is np.where and _may_be_overwritten(tape, args, done):
            operation, args = _overwrite, args[::-1]
        places = tuple(place(arg) for arg in args)
        free += [register[source] for source in done]
        if isinstance(operation, str) or not free:
            target = len(start)
            start.append(None)
        else:
            target = free.pop()
        register[index] = target
        if isinstance(operation, str):
            inputs.append((operation, target))
        else:
            instructions.append((operation, target, *places, *(None,) * (3 - len(places))))
    found = tuple(place(result) for result in results)  # may add constants
    return TapeProgram(tuple(inputs), tuple(start), tuple(instructions), found)


def _may_be_overwritten(tape: Tape, args: tuple[Any, ...], done: set[int]) -> bool:
    """Whether nobody needs the otherwise of a `where` any more, and it belongs to the program."""
    *others, otherwise = args
    if not isinstance(otherwise, Symbol) or otherwise.index not in done or any(other is otherwise for other in others):
        return False
    return not isinstance(tape.nodes[otherwise.index][0], str)  # an input


def _overwrite(otherwise: np.ndarray, then: np.ndarray, condition: np.ndarray) -> np.ndarray:
    """`where` in place, which is a third faster."""
    np.putmask(otherwise, condition, then)
    return otherwise


def _needed(tape: Tape, results: Sequence[Any]) -> list[int]:
    """The operations that the results depend on, in order."""
    found = {result.index for result in results if isinstance(result, Symbol)}
    work = list(found)
    while work:
        for source in tape.sources[work.pop()]:
            if source not in found:
                found.add(source)
                work.append(source)
    return sorted(found)
