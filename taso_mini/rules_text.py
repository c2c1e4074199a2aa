r"""The text form of substitutions: read by people, parsed by `parse_rules`, exact in both directions.

One rule is one block:

    rule concat-conv-conv-is-conv-concat
      variables x1: image, w1: kernel, w2: kernel
      source    concat(conv(x1, w1, activation=none, ...), conv(x1, w2, activation=none, ...), axis=1)
      target    conv(x1, concat(w1, w2, axis=0), activation=none, ...)
      when      groups(x1, w1) == 1
      proof     conv-concat-output-channels; tested on 40 shapes

`source`, `target` and `when` are repeated, once per output or condition. Lines that begin with `#` are comments.

>>> text = '''
... rule relu-add
...   variables x1: tensor
...   source    add(x1, x1)
...   target    add(x1, x1)
... '''
>>> rules = parse_rules(text)
>>> print(rules[0])
relu-add: add(x1, x1) => add(x1, x1)
>>> parse_rules(show_rules(rules)) == rules
True
"""

from __future__ import annotations

import ast
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path

from taso_mini.terms import Substitution, Term, names_unique, variable

RULES_DIRECTORY = Path(__file__).parent / "rules"
SHIPPED_RULES = RULES_DIRECTORY / "generated.txt"
_FIELDS = ("variables", "source", "target", "when", "proof")


def show_rule(rule: Substitution) -> str:
    """Return the block of one rule, ending in a newline."""
    kinds = ", ".join(f"{v.name}: {v.kind}" for v in rule.variables)
    lines = [("variables", kinds)]
    lines += [("source", str(output)) for output in rule.source]
    lines += [("target", str(output)) for output in rule.target]
    lines += [("when", condition) for condition in rule.conditions]
    lines += [("proof", rule.proof)] if rule.proof else []
    return f"rule {rule.name}\n" + "".join(f"  {field:<9} {text}\n" for field, text in lines)


def show_rules(rules: Sequence[Substitution], *, header: str = "") -> str:
    """Return the text of many rules, with `header` (if any) as leading comment lines."""
    comment = "".join(f"# {line}".rstrip() + "\n" for line in header.splitlines())
    return "\n".join([comment] * bool(comment) + [show_rule(rule) for rule in rules])


def parse_term(text: str, kinds: Mapping[str, str]) -> Term:
    """Parse one term; `kinds` gives each variable's kind.

    >>> print(parse_term("concat(x, relu(y), axis=1)", {"x": "tensor", "y": "tensor"}))
    concat(x, relu(y), axis=1)
    """
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except SyntaxError as error:
        raise ValueError(f"text: expected a term such as relu(add(x1, x2)), got {text!r}") from error
    return _term(tree, kinds, text)


class _AnyKind(dict[str, str]):
    """Declares every name to be a tensor."""

    def __missing__(self, name: str) -> str:
        """Return the kind that fits everywhere."""
        return "tensor"


def term_of_expression(tree: ast.expr) -> Term:
    """Return the term that a parsed expression writes; every name in it is a variable of kind `tensor`."""
    return _term(tree, _AnyKind(), ast.unparse(tree))


def _term(node: ast.expr, kinds: Mapping[str, str], text: str) -> Term:
    if isinstance(node, ast.Name):
        try:
            return variable(node.id, kinds[node.id])
        except KeyError:
            raise ValueError(f"text: the variable {node.id!r} of {text!r} is not declared") from None
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        params = {keyword.arg: _value(keyword.value, text) for keyword in node.keywords if keyword.arg}
        return Term(node.func.id, params.items(), tuple(_term(argument, kinds, text) for argument in node.args))
    raise ValueError(f"text: expected operators and variables only, got {ast.unparse(node)!r} in {text!r}")


def _value(node: ast.expr, text: str) -> Hashable:
    if isinstance(node, ast.Name):
        return node.id
    try:
        return ast.literal_eval(node)
    except ValueError as error:
        raise ValueError(f"text: expected a word, number or tuple, got {ast.unparse(node)!r} in {text!r}") from error


def parse_rules(text: str) -> tuple[Substitution, ...]:
    """Parse the rules of `text`; raise ValueError that names the line of the first fault."""
    rules: list[Substitution] = []
    blocks: list[tuple[int, str, list[tuple[str, str]]]] = []
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.split(maxsplit=1)
        if not words or words[0].startswith("#"):
            continue
        field, rest = words[0], (words[1].strip() if len(words) > 1 else "")
        if field == "rule" and rest:
            blocks.append((number, rest, []))
        elif field in _FIELDS and blocks:
            blocks[-1][2].append((field, rest))
        else:
            fields = ", ".join(_FIELDS)
            raise ValueError(f"line {number}: expected 'rule NAME' or one of {fields}, got {line.strip()!r}")
    for number, name, lines in blocks:
        try:
            rules.append(_rule(name, lines))
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from error
    names_unique(rules)
    return tuple(rules)


def _rule(name: str, lines: Sequence[tuple[str, str]]) -> Substitution:
    values = {field: [text for other, text in lines if other == field] for field in _FIELDS}
    declarations = [part.split(":") for text in values["variables"] for part in text.split(",") if part.strip()]
    if any(len(part) != 2 for part in declarations):
        raise ValueError(f"rule {name}: expected variables as 'name: kind, ...', got {values['variables']}")
    kinds = {variable_name.strip(): kind.strip() for variable_name, kind in declarations}
    source, target = (tuple(parse_term(text, kinds) for text in values[side]) for side in ("source", "target"))
    return Substitution(name, source, target, tuple(values["when"]), "; ".join(values["proof"]))


def load_rules(path: Path = SHIPPED_RULES) -> tuple[Substitution, ...]:
    """Read the rules of a file; by default the ones shipped with the package."""
    return parse_rules(Path(path).read_text(encoding="utf-8"))
