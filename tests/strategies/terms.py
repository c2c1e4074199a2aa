"""Random well-formed terms and rules over tensors, matrices and images."""

from __future__ import annotations

from hypothesis import strategies as st

from taso_mini.terms import PARAMETER_VARIABLES, Substitution, Term, term, variable

VARIABLES = {
    "tensor": [variable(f"x{i}", "tensor") for i in (1, 2, 3)],
    "image": [variable(f"i{i}", "image") for i in (1, 2)],
    "kernel": [variable(f"w{i}", "kernel") for i in (1, 2)],
}


def elementwise_terms(*, max_leaves: int = 6) -> st.SearchStrategy[Term]:
    """Terms of add, mul and relu over three tensors: defined whenever the tensors' shapes are equal."""

    def extend(inner: st.SearchStrategy[Term]) -> st.SearchStrategy[Term]:
        binary = st.builds(lambda name, a, b: term(name, a, b), st.sampled_from(["add", "mul"]), inner, inner)
        return binary | st.builds(lambda a: term("relu", a), inner)

    return st.recursive(st.sampled_from(VARIABLES["tensor"]), extend, max_leaves=max_leaves)


def parameter_values() -> st.SearchStrategy:
    """Values a parameter may have: numbers, tuples, words and variables."""
    return (
        st.integers(-3, 9)
        | st.tuples(st.integers(0, 3), st.integers(0, 3))
        | st.sampled_from([*PARAMETER_VARIABLES, "none", "relu", "same"])
    )


def any_terms(*, max_leaves: int = 6) -> st.SearchStrategy[Term]:
    """Terms with arbitrary operators and parameters, for printers and parsers; they need not be defined."""
    leaves = st.sampled_from([v for group in VARIABLES.values() for v in group])
    names = st.sampled_from(["axis", "padding", "strides", "activation"])
    params = st.dictionaries(names, parameter_values(), max_size=3)

    def extend(inner: st.SearchStrategy[Term]) -> st.SearchStrategy[Term]:
        return st.builds(
            lambda name, given, args: Term(name, given.items(), args),
            st.sampled_from(["conv", "concat", "relu", "split0"]),
            params,
            st.lists(inner, min_size=1, max_size=3),
        )

    return st.recursive(leaves, extend, max_leaves=max_leaves)


@st.composite
def substitutions(draw: st.DrawFn) -> Substitution:
    """Well-formed rules: the target's variables and parameters occur in the source."""
    source = tuple(draw(st.lists(any_terms(), min_size=1, max_size=2)))
    target = tuple(draw(st.permutations(source)))
    conditions = tuple(draw(st.lists(st.sampled_from(["groups(i1, w1) == 1", "x1.shape == x2.shape"]), max_size=2)))
    name = draw(st.from_regex(r"[a-z]+(-[a-z0-9]+){0,3}", fullmatch=True))
    return Substitution(name, source, target, conditions, draw(st.sampled_from(["", "by hand; tested"])))
