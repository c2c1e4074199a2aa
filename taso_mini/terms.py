"""Terms, the tree form in which substitutions are generated, proved and written down.

Paper: TASO §2.1. A term is an operator, its parameters and its argument terms. Terms are interned: two equal terms are
one object, so equality is identity and a shared subexpression is stored once. A `Substitution` says that the terms of
its source and the terms of its target have equal values, output by output, whenever its conditions hold.

Vocabulary:
    variables    `Term("input", (("kind", "image"), ("name", "x1")), ())`, made by `variable("x1", "image")`.
    kinds        what may be bound: `image` (N, C, H, W), `kernel` (O, C / groups, KH, KW), `vector` (C,),
                 `matrix` (2-D), `scalar` (0-D), `tensor` (any rank; all that a rule of elementwise operators asks for).
    parameters   the names the graph's operators use (`strides`, `padding`, `dilations`, `activation`, `axis`, `perm`).
                 A parameter holds a value or one of `PARAMETER_VARIABLES`; such a variable stands for any value, the
                 same one wherever it occurs in the rule.
    outputs      an operator has one value; a split into two is the pair of operators `split0`, `split1`.
    constants    operators without arguments: `Cpool`, `Iconv`, `Imatmul`, `Iewmul` (TASO Table 1). Their shape is open,
                 like a variable's; it is given under the key `str(term)`, and their value follows from it.

>>> x = variable("x1", "tensor")
>>> term("relu", term("relu", x)) is term("relu", term("relu", x))
True
>>> print(term("concat", x, term("relu", x), axis=1))
concat(x1, relu(x1), axis=1)
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from weakref import WeakValueDictionary

KINDS = ("image", "kernel", "vector", "matrix", "scalar", "tensor")
PARAMETER_VARIABLES = ("s", "p", "d", "a", "k", "f")  # strides, padding, dilations, axis, pool window, activation

Params = tuple[tuple[str, Hashable], ...]


class Term:
    """An operator applied to argument terms; immutable and interned."""

    __slots__ = ("operator", "params", "args", "_text", "_subterms", "__weakref__")
    operator: str
    params: Params
    args: tuple[Term, ...]
    _text: str
    _subterms: tuple[Term, ...]
    _interned: WeakValueDictionary[tuple[str, Params, tuple[Term, ...]], Term] = WeakValueDictionary()

    def __new__(cls, operator: str, params: Iterable[tuple[str, Hashable]] = (), args: Iterable[Term] = ()) -> Term:
        """Return the one term with this operator, parameters (sorted by name) and arguments."""
        key = (operator, tuple(sorted(params)), tuple(args))
        found = cls._interned.get(key)
        if found is None:
            found = object.__new__(cls)
            for name, value in zip(("operator", "params", "args"), key, strict=True):
                object.__setattr__(found, name, value)
            object.__setattr__(found, "_text", _text(*key))
            below = dict.fromkeys(node for argument in key[2] for node in argument._subterms)
            object.__setattr__(found, "_subterms", (*below, found))
            cls._interned[key] = found
        return found

    def __setattr__(self, name: str, value: object) -> None:
        """Refuse: a term is shared by everyone who wrote it."""
        raise AttributeError(f"a term is immutable; cannot set {name!r}")

    def __reduce__(self) -> tuple[type[Term], tuple[str, Params, tuple[Term, ...]]]:
        """Pickle as a constructor call, so that terms stay interned in another process."""
        return Term, (self.operator, self.params, self.args)

    @property
    def is_variable(self) -> bool:
        """Whether the term is an input of the rule."""
        return self.operator == "input"

    @property
    def is_constant(self) -> bool:
        """Whether the term is a constant tensor, such as an identity matrix."""
        return not self.args and not self.is_variable

    def param(self, name: str, default: Hashable = None) -> Hashable:
        """Return the value of the named parameter, or `default`."""
        return dict(self.params).get(name, default)

    @property
    def name(self) -> str:
        """The variable's name; only for variables."""
        if not self.is_variable:
            raise ValueError(f"only a variable has a name, not the term {self}")
        return str(self.param("name"))

    @property
    def kind(self) -> str:
        """The variable's kind (one of `KINDS`); only for variables."""
        if not self.is_variable:
            raise ValueError(f"only a variable has a kind, not the term {self}")
        return str(self.param("kind"))

    def __str__(self) -> str:
        """Return `operator(arguments, parameter=value)`; a variable prints as its name."""
        return self._text

    def __repr__(self) -> str:
        """Return Python text that builds the term again."""
        return f"Term({self.operator!r}, {self.params!r}, {self.args!r})"


def _text(operator: str, params: Params, args: tuple[Term, ...]) -> str:
    if operator == "input":
        return str(dict(params).get("name"))
    parts = [argument._text for argument in args] + [f"{name}={value}" for name, value in params]
    return f"{operator}({', '.join(parts)})"


def variable(name: str, kind: str) -> Term:
    """Return the variable with this name and kind."""
    if kind not in KINDS:
        raise ValueError(f"kind: expected one of {', '.join(KINDS)}, got {kind!r}")
    return Term("input", (("kind", kind), ("name", name)), ())


def term(operator: str, *args: Term, **params: Hashable) -> Term:
    """Return the term `operator(*args)` with the given parameters."""
    return Term(operator, tuple(params.items()), args)


def is_parameter_variable(value: Hashable) -> bool:
    """Whether a parameter's value is a variable rather than a concrete value."""
    return isinstance(value, str) and value in PARAMETER_VARIABLES


def subterms(*roots: Term) -> Iterator[Term]:
    """Yield every distinct subterm of the roots once, arguments before the terms that use them."""
    if len(roots) == 1:
        yield from roots[0]._subterms
    else:
        yield from dict.fromkeys(node for root in roots for node in root._subterms)


def variables(*roots: Term) -> tuple[Term, ...]:
    """Return the variables of the roots in order of first use.

    >>> print(*variables(term("add", variable("x2", "tensor"), variable("x1", "tensor"))))
    x2 x1
    """
    return tuple(node for node in subterms(*roots) if node.is_variable)


def constants(*roots: Term) -> tuple[Term, ...]:
    """Return the constants of the roots in order of first use.

    >>> print(*constants(term("matmul", variable("x", "matrix"), term("Imatmul"))))
    Imatmul()
    """
    return tuple(node for node in subterms(*roots) if node.is_constant)


def operator_count(*roots: Term) -> int:
    """Return the number of operators; the two halves of one split count once.

    >>> whole = term("concat", variable("x1", "tensor"), variable("x2", "tensor"), axis=0)
    >>> operator_count(term("split0", whole, axis=0), term("split1", whole, axis=0))
    2
    """
    halves = {"split0": "split", "split1": "split"}
    return len(
        {
            (halves.get(node.operator, node.operator), node.params, node.args)
            for node in subterms(*roots)
            if not node.is_variable
        }
    )


def parameter_variables(*roots: Term) -> tuple[str, ...]:
    """Return the names of the parameter variables that occur, sorted."""
    return tuple(
        sorted(
            {
                str(value)
                for node in subterms(*roots)
                for _, value in node.params
                if not node.is_variable and is_parameter_variable(value)
            }
        )
    )


def rewrite(root: Term, change: Callable[[Term], Term | None]) -> Term:
    """Rebuild a term bottom-up; `change` returns a replacement, or None to keep the rebuilt node."""
    done: dict[Term, Term] = {}
    for node in subterms(root):
        rebuilt = Term(node.operator, node.params, tuple(done[argument] for argument in node.args))
        replacement = change(rebuilt)
        done[node] = rebuilt if replacement is None else replacement
    return done[root]


def substitute(root: Term, binding: Mapping[Term, Term]) -> Term:
    """Replace variables by terms.

    >>> x, y = variable("x", "tensor"), variable("y", "tensor")
    >>> print(substitute(term("add", x, y), {y: term("relu", x)}))
    add(x, relu(x))
    """
    return rewrite(root, binding.get)


def bind_parameters(root: Term, values: Mapping[str, Hashable]) -> Term:
    """Replace parameter variables by values.

    >>> print(bind_parameters(term("concat", variable("x", "tensor"), variable("y", "tensor"), axis="a"), {"a": 1}))
    concat(x, y, axis=1)
    """
    if not values:
        return root

    def change(node: Term) -> Term | None:
        if node.is_variable or not node.params:
            return None
        params = tuple(
            (name, values.get(str(value), value) if is_parameter_variable(value) else value)
            for name, value in node.params
        )
        return Term(node.operator, params, node.args)

    return rewrite(root, change)


@dataclass(frozen=True)
class Substitution:
    """A rule: `source[i]` may be replaced by `target[i]`, for all outputs at once, when every condition holds.

    Attributes:
        name: unique, kebab-case, made of the operators' names.
        source: the terms to be replaced; more than one for a rule with several outputs.
        target: their replacements, in the same order.
        conditions: formulas such as `groups(x1, w1) == 1`; `taso_mini.conditions` evaluates them.
        proof: which axioms prove the rule and how it was tested.
    """

    name: str
    source: tuple[Term, ...]
    target: tuple[Term, ...]
    conditions: tuple[str, ...] = ()
    proof: str = ""

    def __post_init__(self) -> None:
        """Check that the outputs correspond and that the target's variables are bound by the source."""
        if not self.source or len(self.source) != len(self.target):
            raise ValueError(
                f"rule {self.name}: expected as many target as source outputs (at least one), "
                f"got {len(self.source)} source and {len(self.target)} target outputs"
            )
        free = [v for v in variables(*self.target) if v not in variables(*self.source)]
        if free:
            raise ValueError(
                f"rule {self.name}: expected the source to bind every variable, "
                f"but the target alone uses {', '.join(map(str, free))}"
            )
        unbound = set(parameter_variables(*self.target)) - set(parameter_variables(*self.source))
        if unbound:
            raise ValueError(f"rule {self.name}: the target alone uses the parameters {', '.join(sorted(unbound))}")

    @property
    def variables(self) -> tuple[Term, ...]:
        """The variables in order of first use in the source."""
        return variables(*self.source)

    def __str__(self) -> str:
        """Return the rule on one line."""
        left, right = (", ".join(map(str, side)) for side in (self.source, self.target))
        when = f"  when {' and '.join(self.conditions)}" if self.conditions else ""
        return f"{self.name}: {left} => {right}{when}"


def names_unique(rules: Sequence[Substitution]) -> None:
    """Raise ValueError when two rules share a name."""
    seen: set[str] = set()
    for rule in rules:
        if rule.name in seen:
            raise ValueError(f"rules: expected unique names, got {rule.name!r} twice")
        seen.add(rule.name)
