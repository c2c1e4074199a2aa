"""From candidate pairs to a rule set: proved and tested, general, without consequences, directed, named and ranked.

Paper: TASO §3 and §4, in this order; each step is counted.

1. Drop candidates of equal normal form, unions, and those without a direction.
2. Prove each; what is not proved is tested, to tell what is wrong from what is unknown, and dropped.
3. Drop renamings, instances and consequences; rules that change the number of expensive operators stay.
4. Widen: put a parameter variable for strides, padding, dilations, windows and axes, one after the other, as long as
   the rule stays proved; then drop as before.
5. Direct: both directions are rules where the source binds everything. Each is proved with its own conditions, and
   tested under them by the second verifier (see `verdicts`).
6. Leave out directions that lead nowhere, sort by what a rule can save (see `ranking`), and name by the operators.
"""

from __future__ import annotations

import ast
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

from taso_mini.canonical import Pair, canonical, show_pair
from taso_mini.conditions import holds
from taso_mini.proving import prove
from taso_mini.pruning import drop_consequences, drop_instances, drop_renamings, drop_unions, general_first
from taso_mini.ranking import ranked, worth_shipping
from taso_mini.terms import Substitution, Term, parameter_variables, rewrite, subterms, variables
from taso_mini.verdicts import Judgement, judge

Progress = Callable[[str, int, int], None]  # what is done, how much of it, and of how much
_VARIABLE_OF = {"axis": "a", "strides": "s", "dilations": "d", "padding": "p", "kernel": "k"}


def directions(pair: Pair) -> Iterator[Pair]:
    """Yield the directions in which the source binds every variable and parameter and is more than a variable.

    A rule whose outputs could be replaced one by one is no rule of its own.
    """
    for source, target in (pair, pair[::-1]):
        separable = len(source) > 1 and all(
            set(variables(new)) <= set(variables(old)) for old, new in zip(source, target, strict=True)
        )
        bound = set(variables(*target)) <= set(variables(*source)) and set(parameter_variables(*target)) <= set(
            parameter_variables(*source)
        )
        computes = all(not output.is_variable and variables(output) for output in source)
        if bound and computes and not separable:
            yield source, target


def _judged(pair: Pair, *, seed: int, draws: int) -> Judgement:
    """Judge one direction; its tests depend on the seed and the rule alone."""
    number = zlib.crc32(show_pair(pair).encode())
    return judge(Substitution("candidate", *pair), seed=seed ^ number, draws=draws)


def widen(pair: Pair) -> Pair:
    """Replace each concrete parameter by a variable where all directions of the rule stay, and stay proved.

    >>> from taso_mini.rules_text import parse_term
    >>> kinds = {"x": "tensor", "y": "tensor"}
    >>> old, new = (parse_term(t, kinds) for t in ("relu(concat(x, y, axis=1))", "concat(relu(x), relu(y), axis=1)"))
    >>> print(show_pair(widen(((old,), (new,)))))
    relu(concat(x, y, axis=a)) = concat(relu(x), relu(y), axis=a)
    """
    for name, letter in _VARIABLE_OF.items():
        values = {node.param(name) for node in _with_param(pair, name)}
        if len(values) != 1:
            continue
        wider = tuple(tuple(_with_variable(output, name, letter) for output in side) for side in pair)
        ways = list(directions((wider[0], wider[1])))
        if len(ways) == len(list(directions(pair))) and all(map(_proves, ways)):
            pair = ways[0]
    return pair


def _proves(pair: Pair) -> bool:
    """Whether one direction is proved under conditions that tests can meet."""
    found = prove(Substitution("candidate", *pair))
    return found.proved and all(map(_can_be_met, found.conditions))


def _can_be_met(condition: str) -> bool:
    """Whether instances can be drawn: shapes are drawn apart from parameters, and seldom agree with a window `k[0]`."""
    nodes = ast.walk(ast.parse(condition, mode="eval"))
    if any(isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) for node in nodes):
        return False
    try:
        holds(condition, {}, {})
    except (ValueError, KeyError) as error:  # no shapes are given, which is another error than no meaning
        return "cannot read" not in str(error)
    return True


def _with_param(pair: Pair, name: str) -> list[Term]:
    return [node for node in subterms(*pair[0], *pair[1]) if not node.is_variable and node.param(name) is not None]


def _with_variable(root: Term, name: str, letter: str) -> Term:
    def change(node: Term) -> Term | None:
        if node.is_variable or node.param(name) is None:
            return None
        return Term(node.operator, ((k, letter if k == name else v) for k, v in node.params), node.args)

    return rewrite(root, change)


def make_rules(
    pairs: Iterable[Pair], *, seed: int, draws: int = 8, everything: bool = False, progress: Progress | None = None
) -> tuple[list[Substitution], dict[str, int]]:
    """Return the rules of some candidates, the most useful first, and the count after each step.

    Args:
        pairs: equal pairs of graphs, true or not.
        seed: of the tests; the same seed gives the same rules.
        draws: half the number of tests per class of groups.
        everything: keep directions too that `worth_shipping` leaves out.
        progress: is told what is being done.
    """
    tell = progress or (lambda step, done, total: None)
    given = list(pairs)
    counts: dict[str, int] = {"candidates": len(given)}
    forms = sorted({show_pair(form): form for form in map(canonical, given)}.values(), key=general_first)
    forms = [form for form in drop_unions(forms) if any(directions(form))]
    counts["different and directed"] = len(forms)
    proved, refused = _proved(forms, seed=seed, tell=tell)
    counts |= {f"refused: {kind}": number for kind, number in sorted(refused.items())}
    counts["proved"] = len(proved)
    kept = drop_consequences(drop_instances(drop_renamings(proved)))
    counts["no instances or consequences"] = len(kept)
    tell("widening", 0, len(kept))
    kept = drop_consequences(drop_instances(drop_renamings([widen(next(directions(pair))) for pair in kept])))
    counts["widened, no instances or consequences"] = len(kept)
    rules = ranked(_directed(kept, seed=seed, draws=draws, tell=tell))
    counts["directed and tested"] = len(rules)
    if not everything:
        rules = list(filter(worth_shipping, rules))
        counts["worth shipping"] = len(rules)
    return named(rules), counts


def _proved(forms: Sequence[Pair], *, seed: int, tell: Progress) -> tuple[list[Pair], Counter[str]]:
    proved: list[Pair] = []
    refused: Counter[str] = Counter()
    for number, form in enumerate(forms):
        tell("proving", number, len(forms))
        direction = next(directions(form))
        if _proves(direction):
            proved.append(form)
        else:
            refused[_judged(direction, seed=seed, draws=4).kind] += 1
    return proved, refused


def _directed(pairs: Sequence[Pair], *, seed: int, draws: int, tell: Progress) -> Iterator[Substitution]:
    for number, pair in enumerate(pairs):
        tell("directing and testing", number, len(pairs))
        for direction in directions(pair):
            found = _judged(direction, seed=seed, draws=draws)
            if found.usable:
                proof = f"by {', '.join(found.proof.axioms)}; equal on {found.test.total} tests"
                yield Substitution("candidate", found.rule.source, found.rule.target, found.rule.conditions, proof)


def named(rules: Iterable[Substitution]) -> list[Substitution]:
    """Name rules by the operators of both sides; the second of a name ends in -2.

    >>> from taso_mini.rules_text import parse_rules
    >>> rule, = parse_rules("rule r\\n variables x: tensor\\n source relu(relu(x))\\n target relu(x)")
    >>> [rule.name for rule in named([rule, rule])]
    ['relu-relu-is-relu', 'relu-relu-is-relu-2']
    """
    counts: Counter[str] = Counter()
    result = []
    for rule in rules:
        name = f"{_words(rule.source)}-is-{_words(rule.target)}"
        counts[name] += 1
        unique = name if counts[name] == 1 else f"{name}-{counts[name]}"
        result.append(Substitution(unique, rule.source, rule.target, rule.conditions, rule.proof))
    return result


def _words(side: Sequence[Term]) -> str:
    """Return the operators of a side from the outputs inwards, each once per use, joined by hyphens."""
    nodes = [node for node in subterms(*side) if not node.is_variable]
    words = []
    for node in reversed(nodes):
        word = node.operator.replace("_", "-")
        words.append(word + "-relu" if node.param("activation") == "relu" else word)
    return "-".join(words) or "input"
