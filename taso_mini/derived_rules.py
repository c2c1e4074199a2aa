"""Rules that follow from given ones at once and that a search would miss: for halves of a split, for other functions.

Paper: TASO §4. The generator's tensors are never split without being concatenated in the rule, so a merge that leaves a
split behind is the end of the way: relu of one half and relu of the other are two relus. `completed` adds the step:

    concat(relu(x), relu(y)) = relu(concat(x, y))      gives, with x and y the halves of z,
    relu(split0(z)), relu(split1(z))  ->  split0(relu(z)), split1(relu(z))

That needs nothing but the rule itself and that a tensor is the concatenation of its halves. What is proved of relu by
axioms that hold for every element-wise function is true of tanh and the others as well.

>>> from taso_mini.rules_text import parse_rules
>>> rules = parse_rules('''
... rule concat-relu-relu-is-relu-concat
...   variables x: tensor, y: tensor
...   source    concat(relu(x), relu(y), axis=a)
...   target    relu(concat(x, y, axis=a))
...   proof     by relu-concat
... ''')
>>> for rule in completed(rules):
...     if "tanh" in rule.name:
...         print(rule)  # doctest: +NORMALIZE_WHITESPACE
concat-tanh-tanh-is-tanh-concat: concat(tanh(x), tanh(y), axis=a) => tanh(concat(x, y, axis=a))
concat-tanh-tanh-is-tanh-concat-of-halves: tanh(split0(x, axis=a)), tanh(split1(x, axis=a)) =>
    split0(tanh(x), axis=a), split1(tanh(x), axis=a)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from taso_mini.graph_terms import UNARY
from taso_mini.terms import Substitution, Term, operator_count, rewrite, substitute, subterms, term, variable, variables

HEAVY = frozenset(("conv", "conv_bias", "matmul"))  # their halves' weights are split once and for all, not by a rule
POINTWISE = frozenset(  # axioms that hold with any element-wise function in the place of relu
    ("relu-concat", "relu-transpose", "split0-concat", "split1-concat", "transpose-transpose")
)


def completed(rules: Sequence[Substitution]) -> tuple[Substitution, ...]:
    """Return the rules and those that follow from them; of rules that say the same the first stays."""
    found = [*rules, *of_functions(rules), *of_halves([*rules, *of_functions(rules)]), _halves_joined()]
    distinct: dict[tuple[tuple[Term, ...], tuple[Term, ...]], Substitution] = {}
    for rule in found:
        distinct.setdefault((rule.source, rule.target), rule)
    return tuple(distinct.values())


def of_halves(rules: Iterable[Substitution]) -> Iterator[Substitution]:
    """Yield the two-output rules that rules about a concatenation say about the halves of a split."""
    for rule in rules:
        whole = rule.source[0]
        if len(rule.source) > 1 or whole.operator != "concat" or rule.conditions:
            continue
        left, right = whole.args
        pairs = {node.args: node for node in subterms(*rule.target) if _joins(node, left, right)}
        joined = {node: node.args[0] for node in pairs.values()}
        together = rewrite(rule.target[0], joined.get)
        halves = [
            substitute(side, {args[i]: term(half, args[0], axis=node.param("axis")) for args, node in pairs.items()})
            for i, (side, half) in enumerate(((left, "split0"), (right, "split1")))
        ]
        light = operator_count(together) == 1 and together.operator not in HEAVY
        if pairs and light and set(variables(*halves)) == set(variables(together)):
            axis = whole.param("axis")
            target = tuple(term(half, together, axis=axis) for half in ("split0", "split1"))
            proof = f"{rule.proof}; a tensor is the concatenation of its halves"
            yield Substitution(f"{rule.name}-of-halves", tuple(halves), target, (), proof)


def _joins(node: Term, left: Term, right: Term) -> bool:
    """Whether a term concatenates a variable of the left part with one of the right part."""
    return (
        node.operator == "concat"
        and all(arg.is_variable for arg in node.args)
        and node.args[0] in variables(left)
        and node.args[1] in variables(right)
        and not set(node.args) & (set(variables(left)) & set(variables(right)))
    )


def of_functions(rules: Iterable[Substitution]) -> Iterator[Substitution]:
    """Yield what rules about relu say about other element-wise functions."""
    for rule in rules:
        axioms = rule.proof.removeprefix("by ").split(";")[0].split(", ")
        if "relu" not in rule.name or not POINTWISE.issuperset(axioms):
            continue
        for function in UNARY:
            if function != "relu":
                source, target = (tuple(_replace(root, function) for root in roots)
                                  for roots in (rule.source, rule.target))  # fmt: skip
                name = rule.name.replace("relu", function)
                yield Substitution(name, source, target, rule.conditions, f"{rule.proof}; for every function like relu")


def _replace(root: Term, function: str) -> Term:
    return rewrite(root, lambda node: term(function, *node.args) if node.operator == "relu" else None)


def _halves_joined() -> Substitution:
    x = variable("x1", "tensor")
    halves = (term(half, x, axis="a") for half in ("split0", "split1"))
    proof = "a tensor is the concatenation of its halves"
    return Substitution("concat-split0-split1-is-input", (term("concat", *halves, axis="a"),), (x,), (), proof)
