"""Read the rule files of the published system, to check its rules and to use them.

Paper: TASO §2.1, §6. The files hold one `RuleCollection` message of the repository's `rules.proto` in protobuf's wire
format, of which numbers and nested messages are all that occurs:

    RuleCollection  rule = 1
    Rule            srcOp = 1, dstOp = 2, mappedOutput = 3
    Operator        type = 1, input = 2, para = 3
    Tensor          opId = 1, tsId = 2           opId < 0: the input -opId; else an operator of the same side
    Parameter       key = 1, value = 2
    MapOutput       srcOpId = 1, dstOpId = 2, srcTsId = 3, dstTsId = 4

Three things of the files have no counterpart here: a convolution's window is its kernel's, so the recorded size is left
out; both ways to store a transposed matrix are `transpose`; and a concatenation's number of axes becomes the kind of
the variables. Variables are named by kind, x1, w1, c1, in order of first use.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from taso_mini.kinds import LETTERS, SIGNATURES, least_kinds
from taso_mini.terms import Substitution, Term, substitute, variable, variables

Message = Mapping[int, Sequence[int | bytes]]  # field number → its values, in order
Parameters = Mapping[str, int]

_KEYS = {
    4: "kernel_h",
    5: "kernel_w",
    6: "stride_h",
    7: "stride_w",
    8: "pad",
    9: "activation",
    10: "rank",
    11: "axis",
    12: "perm",
}
_PADDINGS: dict[int, Hashable] = {0: "same", 1: (0, 0, 0, 0)}
_ACTIVATIONS: dict[int, Hashable] = {0: "none", 2: "relu"}


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Return the number that begins at `at` (negative ones take ten bytes) and where it ends."""
    number = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise ValueError("expected a number, but the message ends or the number does not")
        number |= (data[at] & 127) << shift
        at, shift = at + 1, shift + 7
        if data[at - 1] < 128:
            return (number - (1 << 64) if number >> 63 else number), at


def _message(data: int | bytes) -> Message:
    """Decode one message into its fields; what a nested message holds is left as bytes.

    >>> _message(bytes([8, 3, 18, 2, 8, 1, 8, 5]))
    {1: [3, 5], 2: [b'\\x08\\x01']}
    """
    if isinstance(data, int):
        raise ValueError(f"expected a message, got the number {data}")
    fields: dict[int, list[int | bytes]] = defaultdict(list)
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        if key & 7 == 0:
            number, at = _varint(data, at)
            fields[key >> 3].append(number)
        elif key & 7 == 2:
            length, at = _varint(data, at)
            if not 0 <= length <= len(data) - at:
                raise ValueError(f"expected {length} more bytes, got {len(data) - at}")
            fields[key >> 3].append(data[at : at + length])
            at += length
        else:
            raise ValueError(f"expected numbers and messages only, got wire type {key & 7}")
    return dict(fields)


def _number(message: Message, field: int) -> int:
    """Return a field's last value; a number that is left out is 0."""
    value = message.get(field, [0])[-1]
    if not isinstance(value, int):
        raise ValueError(f"expected field {field} to be a number, got {len(value)} bytes")
    return value


@dataclass(frozen=True)
class _Entry:
    """One operator of one side: its number in the enumeration of the repository's `ops.h`, operands and parameters."""

    code: int
    inputs: tuple[tuple[int, int], ...]  # (opId, tsId)
    params: Parameters


def _entry(data: int | bytes) -> _Entry:
    message = _message(data)
    tensors, params = ([_message(part) for part in message.get(field, ())] for field in (2, 3))
    named = {_KEYS[_number(p, 1)]: _number(p, 2) for p in params if _number(p, 1) in _KEYS}
    return _Entry(_number(message, 1), tuple((_number(t, 1), _number(t, 2)) for t in tensors), named)


def _choice(params: Parameters, name: str, choices: Mapping[int, Hashable]) -> Hashable:
    if params.get(name) not in choices:
        raise ValueError(f"expected {name} to be one of {', '.join(map(str, choices))}, got {params.get(name)}")
    return choices[params[name]]


def _two(params: Parameters, what: str) -> tuple[int, int]:
    pair = params.get(f"{what}_h", 0), params.get(f"{what}_w", 0)
    if min(pair) < 1:
        raise ValueError(f"expected a {what} of two positive numbers, got {pair}")
    return pair


def _window(params: Parameters) -> dict[str, Hashable]:
    return {"strides": _two(params, "stride"), "padding": _choice(params, "pad", _PADDINGS)}


def _conv(params: Parameters) -> dict[str, Hashable]:
    return {**_window(params), "dilations": (1, 1), "activation": _choice(params, "activation", _ACTIVATIONS)}


def _pool(params: Parameters) -> dict[str, Hashable]:
    return {**_window(params), "kernel": _two(params, "kernel")}


def _kernel(params: Parameters) -> dict[str, Hashable]:
    return {"kernel": _two(params, "kernel")}


def _axis(params: Parameters) -> dict[str, Hashable]:
    return {"axis": _choice(params, "axis", {axis: axis for axis in range(4)})}


def _perm(params: Parameters) -> dict[str, Hashable]:
    """Decode a permutation, whose entries are the digits of a number in base `rank`, the first one leading."""
    rank, code = params.get("rank", 2), params.get("perm", 2)
    return {
        "perm": tuple(
            _choice({"perm": code // rank ** (rank - 1 - i) % rank}, "perm", {n: n for n in range(rank)})
            for i in range(rank)
        )
    }


def _none(params: Parameters) -> dict[str, Hashable]:
    return {}


_OPERATORS: dict[int, tuple[str, Callable[[Parameters], dict[str, Hashable]]]] = {
    3: ("conv", _conv),
    6: ("max_pool", _pool),
    7: ("avg_pool", _pool),
    8: ("relu", _none),
    12: ("concat", _axis),
    13: ("split", _axis),
    15: ("transpose", _perm),
    16: ("add", _none),
    17: ("mul", _none),
    18: ("matmul", _none),
    19: ("smul", _none),
    20: ("enlarge", _kernel),
    22: ("Imatmul", _none),
    23: ("Iconv", _kernel),
    24: ("Iewmul", _none),
    25: ("Cpool", _kernel),
}


class _Side:
    """The operators of one side of a rule and the terms they stand for."""

    def __init__(self, name: str, entries: Sequence[_Entry]) -> None:
        self.name, self.entries = name, entries
        self.ranks: dict[Term, str] = {}
        self._values: dict[tuple[int, int], Term] = {}

    def value(self, number: int, output: int, path: tuple[int, ...] = ()) -> Term:
        """Return the term of one operator's output, or of the input with a negative number."""
        if number < 0:
            return variable(f"t{-number}", "tensor")
        if number in path:
            circle = " -> ".join(map(str, (*path[path.index(number) :], number)))
            raise ValueError(f"{self.name} operators form a cycle: {circle}")
        if number >= len(self.entries):
            raise ValueError(f"expected one of {len(self.entries)} {self.name} operators, got number {number}")
        if (number, output) not in self._values:
            self._values[number, output] = self._build(number, output, path)
        return self._values[number, output]

    def _build(self, number: int, output: int, path: tuple[int, ...]) -> Term:
        entry = self.entries[number]
        try:
            if entry.code not in _OPERATORS:
                raise ValueError(f"unknown operator type {entry.code}")
            operator, read = _OPERATORS[entry.code]
            params = read(entry.params)
        except ValueError as error:
            raise ValueError(f"{self.name} operator {number}: {error}") from error
        outputs = 2 if operator == "split" else 1
        if not 0 <= output < outputs:
            raise ValueError(f"{self.name} operator {number}: {operator} has {outputs} outputs, got number {output}")
        operator += str(output) if operator == "split" else ""
        args = tuple(self.value(*given, (*path, number)) for given in entry.inputs)
        if len(args) != len(SIGNATURES[operator][0]):
            raise ValueError(
                f"{self.name} operator {number}: expected {len(SIGNATURES[operator][0])} operands "
                f"of {operator}, got {len(args)}"
            )
        result = Term(operator, params.items(), args)
        if operator == "concat" and entry.params.get("rank") in (2, 4):
            self.ranks[result] = "matrix" if entry.params["rank"] == 2 else "image"
        return result


def _rule(name: str, data: int | bytes) -> Substitution:
    message = _message(data)
    source, target = (
        _Side(side, [_entry(part) for part in message.get(field, ())]) for side, field in (("source", 1), ("target", 2))
    )
    outputs = [_message(part) for part in message.get(3, ())]
    old = [source.value(_number(output, 1), _number(output, 3)) for output in outputs]
    new = [target.value(_number(output, 2), _number(output, 4)) for output in outputs]
    kinds = least_kinds([*old, *new], {**source.ranks, **target.ranks})
    counts: Counter[str] = Counter()
    naming: dict[Term, Term] = {}
    for v in variables(*old, *new):
        letter = LETTERS[kinds[v]]
        counts[letter] += 1
        naming[v] = variable(f"{letter}{counts[letter]}", kinds[v])
    return Substitution(
        name, tuple(substitute(root, naming) for root in old), tuple(substitute(root, naming) for root in new)
    )


def read_protobuf(path: str | Path) -> tuple[Substitution, ...]:
    """Read every rule of a file, as `published-000`, `published-001`, ... in the file's order.

    Raises: ValueError: the file is malformed, a rule has a cycle or no output, or an operator is unknown; the message
        names file, rule and operator.
    """
    path = Path(path)
    try:
        collection = _message(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path}: not a rule file: {error}") from error
    if set(collection) - {1}:
        raise ValueError(f"{path}: not a rule file: expected rules (field 1) only, got fields {sorted(collection)}")
    rules = []
    for number, data in enumerate(collection.get(1, ())):
        try:
            rules.append(_rule(f"published-{number:03d}", data))
        except ValueError as error:
            raise ValueError(f"{path}: rule {number}: {error}") from error
    return tuple(rules)
