"""A whole network as kernel calls over named values: what the executor compiles and runs.

A value is an input, a weight, an output of a call, or an alias: another name for the same bytes (a reshape) or for some
of them (a piece of a split). Nothing is copied and nothing has an address yet; `memory_plan` gives the values places
and `network_c` prints the calls.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np

from runtime.expr import Buffer
from runtime.graph import TensorType
from runtime.loop_nest import LoopNest

ALIGNMENT = 64  # bytes; kernels may count on it


class NetworkError(ValueError):
    """A network that cannot be: the message names the call or value, what was expected and what was found."""


@dataclass(frozen=True)
class KernelCall:
    """Run `nest` on values, named in the order of the nest's arguments."""

    nest: LoopNest
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def __str__(self) -> str:
        return f"{', '.join(self.outputs)} = {self.nest.name}({', '.join(self.inputs)})"


@dataclass(frozen=True, eq=False)
class Network:
    """Kernel calls in the order they run.

    values: types of what the calls compute and of the aliases (inputs, outputs and weights need not be repeated).
    aliases: value → the value whose bytes it shares; both have the same dtype and number of elements, unless
    starts: alias → the byte of that other value where it starts, a multiple of ALIGNMENT, if it is a piece of it.

    Raises: NetworkError: a value is computed twice, used before it is computed or never computed, has no type, or does
        not have the size and dtype that a kernel was written for.
    """

    name: str
    inputs: Mapping[str, TensorType]
    outputs: Mapping[str, TensorType]
    weights: Mapping[str, np.ndarray]
    values: Mapping[str, TensorType]
    calls: tuple[KernelCall, ...]
    aliases: Mapping[str, str] = field(default_factory=dict)
    starts: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("inputs", "outputs", "weights", "values", "aliases", "starts"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))
        object.__setattr__(self, "calls", tuple(self.calls))
        _check(self)

    def type_of(self, value: str) -> TensorType:
        """Shape and dtype of any value."""
        for types in (self.values, self.inputs, self.outputs):
            if value in types:
                return types[value]
        if value in self.weights:
            return TensorType(self.weights[value].shape, str(self.weights[value].dtype))
        raise NetworkError(f"network {self.name}: value {value!r} has no type")

    def source_of(self, value: str) -> str:
        """The value behind an alias of an alias …: an input, a weight or what a call computed."""
        while value in self.aliases:
            value = self.aliases[value]
        return value

    def start_of(self, value: str) -> int:
        """The byte of `source_of(value)` where a value starts."""
        start = 0
        while value in self.aliases:
            start += self.starts.get(value, 0)
            value = self.aliases[value]
        return start

    def homes(self) -> dict[str, str]:
        """Computed value → the network output whose memory it is computed into.

        A value that is an output under several names has its home in the first; the others are copies, and so are
        pieces of it.
        """
        computed = {value for call in self.calls for value in call.outputs}
        homes: dict[str, str] = {}
        for output in self.outputs:
            source = self.source_of(output)
            if source in computed and self.type_of(output).nbytes == self.type_of(source).nbytes:
                homes.setdefault(source, output)
        return homes

    def copies(self) -> list[tuple[str, str]]:
        """(output, source) for the outputs that no call can write: inputs, weights, second names, and pieces."""
        homes = self.homes()
        return [(out, self.source_of(out)) for out in self.outputs if homes.get(self.source_of(out)) != out]


def _check(network: Network) -> None:
    where = f"network {network.name}"
    known = set(network.inputs)
    for weight in network.weights:
        if weight in known:
            raise NetworkError(f"{where}: {weight!r} is both an input and a weight")
        known.add(weight)
    _check_aliases(network)
    for number, call in enumerate(network.calls):
        place = f"{where}: call {number}, {call}"
        for value in call.inputs:
            if network.source_of(value) not in known:
                raise NetworkError(f"{place}: {value!r} is used before it is computed")
        _check_types(network, place, call.nest.inputs, call.inputs)
        _check_types(network, place, call.nest.outputs, call.outputs)
        for value in call.outputs:
            if value in known or value in network.aliases:
                raise NetworkError(f"{place}: {value!r} is computed a second time")
            known.add(value)
    for output in network.outputs:
        if network.source_of(output) not in known:
            raise NetworkError(f"{where}: output {output!r} is never computed")
    if not network.outputs:
        raise NetworkError(f"{where} has no outputs")


def _check_types(network: Network, place: str, buffers: tuple[Buffer, ...], values: tuple[str, ...]) -> None:
    if len(buffers) != len(values):
        raise NetworkError(f"{place}: the kernel has {len(buffers)} such arguments, got {len(values)}")
    for buffer, value in zip(buffers, values):
        found = network.type_of(value)
        # A kernel may see the same memory under another shape, as a copy of rows does.
        if (found.size, found.dtype) != (buffer.size, buffer.dtype):
            wanted = TensorType(buffer.shape, buffer.dtype)
            raise NetworkError(f"{place}: {buffer.name} must be {wanted}, but {value!r} is {found}")


def _check_aliases(network: Network) -> None:
    for alias, source in network.aliases.items():
        seen = {alias}
        while source in network.aliases:
            if source in seen:
                raise NetworkError(f"network {network.name}: alias {alias!r} leads back to itself")
            seen.add(source)
            source = network.aliases[source]
        ours, theirs = network.type_of(alias), network.type_of(source)
        start = network.start_of(alias)
        whole = ours.nbytes == theirs.nbytes if alias not in network.starts else start + ours.nbytes <= theirs.nbytes
        if start % ALIGNMENT:
            raise NetworkError(f"network {network.name}: {alias!r} starts at byte {start}, no multiple of {ALIGNMENT}")
        if ours.dtype != theirs.dtype or not whole:
            raise NetworkError(f"network {network.name}: {alias!r} is {ours} and cannot share {source!r}, {theirs}")
        if alias in network.inputs or alias in network.weights:
            raise NetworkError(f"network {network.name}: {alias!r} is an alias and also an input or a weight")
