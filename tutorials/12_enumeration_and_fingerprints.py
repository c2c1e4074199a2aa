"""Enumeration and fingerprints: every small graph, and which of them are equal
============================================================================

After this you can enumerate terms over an operator set of your own, pair those that compute the same, say why the
values must come from a large range, why relu is replaced by something else, and why values are enumerated, not graphs.

Papers: TASO §2.2 (Algorithm 1), §4. Time: less than a minute on a laptop. Read before: 11_graphs_and_substitutions.
"""

# %% [markdown]
# ## 1. All terms of up to two operators
# Three matrices of different sizes, so that their products only fit in one order, and two of equal size. A level of
# terms is made from the levels below: each operator, applied to whatever has been built, if the shapes allow it.

# %%
from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import combinations, product

import numpy as np

from taso_mini.arithmetic import Arithmetic, FiniteField, Floats
from taso_mini.fingerprint import graph_fingerprint, tensor_fingerprint
from taso_mini.operator_set import OPERATORS, evaluate, infer
from taso_mini.shapes import Shape, ShapeError
from taso_mini.terms import Term, operator_count, subterms, term, variable, variables

SHAPES = {"a": (2, 3), "b": (3, 4), "c": (4, 5), "d": (2, 3)}
INPUTS = [variable(name, "matrix") for name in SHAPES]
OPERATIONS: list[tuple[str, dict]] = [("matmul", {}), ("add", {}), ("relu", {}), ("transpose", {"perm": (1, 0)})]
shapes = {name: Shape(dims) for name, dims in SHAPES.items()}


def one_more(known: list[Term]) -> Iterator[Term]:
    """Every operator on every choice of known terms."""
    for operator, params in OPERATIONS:
        for arguments in product(known, repeat=OPERATORS[operator].arity):
            candidate = term(operator, *arguments, **params)
            try:
                infer(candidate, shapes)
            except ShapeError:
                continue
            yield candidate


def enumerate_terms(most: int) -> list[Term]:
    """Every term of at most so many operators, smaller ones first."""
    known = list(INPUTS)
    for count in range(1, most + 1):
        known += [t for t in dict.fromkeys(one_more(known)) if operator_count(t) == count]
    return known


terms = enumerate_terms(2)
print(Counter(operator_count(t) for t in terms))
print(*terms[4:12], sep="\n")
assert len(terms) == len(set(terms)) and term("matmul", *INPUTS[:2]) in terms

# %% [markdown]
# ## 2. Fingerprints
# Draw a value for each input once, compute every term, and keep a number of 64 bits instead of the matrix: a hash of
# its shape and elements. Equal terms get equal numbers. The integers are taken modulo the prime 2³¹ − 1: sums and
# products are exact, whatever their order.

# %%
field = FiniteField()


def classes(known: list[Term], arithmetic: Arithmetic, inputs: dict[str, np.ndarray]) -> list[list[Term]]:
    """Group terms by fingerprint; only groups of several."""
    groups: dict[int, list[Term]] = defaultdict(list)
    for t, value in zip(known, evaluate(known, inputs, arithmetic=arithmetic)):
        groups[tensor_fingerprint(infer(t, shapes), value)].append(t)
    return [group for group in groups.values() if len(group) > 1]


def draw(seed: int, arithmetic: Arithmetic) -> dict[str, np.ndarray]:
    """Random numbers for every input."""
    source = np.random.default_rng(seed)
    return {name: arithmetic.draw(source, dims) for name, dims in SHAPES.items()}


found = classes(terms, field, draw(0, field))
for group in found[:12]:
    print(" = ".join(map(str, group)))
print(f"... {len(found)} groups in all")
associative = {f"matmul({x})" for x in ("a, matmul(b, c)", "matmul(a, b), c")}
assert any({str(t) for t in group} == associative for group in found)

# %% [markdown]
# Nobody told the program that products associate. But an equal fingerprint is a conjecture: the two sides agree on one
# input. How much does it matter where that comes from? Count the pairs of equal terms in smaller fields.

# %%
pairs = {}
for modulus in (2, 3, 5, 7, 31, field.modulus):
    small = FiniteField(modulus)
    counts = [sum(len(g) * (len(g) - 1) // 2 for g in classes(terms, small, draw(seed, small))) for seed in range(10)]
    pairs[modulus] = sum(counts) / len(counts)
    print(f"modulo {modulus:>10}: {pairs[modulus]:7.1f} pairs on average " + "#" * round(pairs[modulus] / 10))
true_pairs = sum(len(g) * (len(g) - 1) // 2 for g in found)
assert pairs[2] > pairs[3] > pairs[5] > true_pairs == pairs[field.modulus]

# %% [markdown]
# Two different polynomials of degree D over a field of p elements agree at a random point with probability at most
# D / p (Schwartz and Zippel). Modulo 2 hardly anything differs; modulo 2³¹ − 1 nothing meets by chance.
#
# ## 3. Why relu is not relu
# On real numbers half of all arguments become 0. Two terms that are nearly always different then agree now and then,
# and products of zeros agree all the time. Here are two terms with relu, on many random inputs of one element.


# %%
class PlainIntegers(Floats):
    """Small integers with the true relu, as a first attempt would have it."""

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        """Integers from -9 to 9."""
        return rng.integers(-9, 10, shape).astype(float)


def agreements(left: Term, right: Term, arithmetic: Arithmetic, tries: int = 400) -> int:
    """How often two terms agree on random inputs of one element."""
    count = 0
    for seed in range(tries):
        source = np.random.default_rng(seed)
        values = {v.name: arithmetic.draw(source, (1, 1)) for v in variables(left, right)}
        count += arithmetic.equal(*evaluate([left, right], values, arithmetic=arithmetic))
    return count


x, y = variable("x", "matrix"), variable("y", "matrix")
distributes = term("relu", term("add", x, y)), term("add", term("relu", x), term("relu", y))
for name, arithmetic in (("true relu", PlainIntegers()), ("relu as a hash", field)):
    print(f"relu(x + y) = relu(x) + relu(y), {name}: {agreements(*distributes, arithmetic)} of 400 inputs")
assert agreements(*distributes, PlainIntegers()) > 100 and agreements(*distributes, field) == 0

# %% [markdown]
# So relu is computed as a random function, with one law kept: it maps 0 to 0, since padding with zeros must stay
# padding. What holds for every such function holds for relu. What needs more of relu is lost, and that is the price:

# %%
twice = term("relu", term("relu", x)), term("relu", x)
print(f"relu(relu(x)) = relu(x): {agreements(*twice, PlainIntegers())} and {agreements(*twice, field)} of 400")
assert agreements(*twice, PlainIntegers()) == 400 and agreements(*twice, field) == 0

# %% [markdown]
# ## 4. Several outputs
# A rule may have two outputs: two products of one matrix are one product and a split. The fingerprint of a graph must
# not depend on the order of its outputs, so it is a sum. A sum of what? Of the tensors' numbers, {1, 4} were {2, 3}.

# %%
one, other = [1, 4], [2, 3]
print("plain sums:", sum(one), sum(other))
print("sums of scrambled numbers:", hex(graph_fingerprint(one)), hex(graph_fingerprint(other)))
assert sum(one) == sum(other)
assert graph_fingerprint(one) != graph_fingerprint(other) == graph_fingerprint(other[::-1])

# %% [markdown]
# ## 5. Graphs or values
# The paper's Algorithm 1 walks over graphs: it adds one operator in every possible way, and again. Each graph is met
# once for every order in which its operators can be written down. Here it is, without the pruning of equal values.


# %%
def walk(scope: tuple[Term, ...], left: int) -> Iterator[tuple[Term, ...]]:
    """Algorithm 1: every sequence of operators, depth first."""
    for new in one_more(list(scope)):
        if new in scope:
            continue  # computed already
        yield (*scope, new)
        if left > 1:
            yield from walk((*scope, new), left - 1)


for most in (1, 2):
    visited = list(walk(tuple(INPUTS), most))
    built = len(enumerate_terms(most)) - len(INPUTS)
    print(f"{most} operators: {len(visited)} graphs visited, {len(set(map(frozenset, visited)))} of them different,"
          f" made of {built} terms")  # fmt: skip
assert len(list(walk(tuple(INPUTS), 2))) > 3 * (len(terms) - len(INPUTS))

# %% [markdown]
# With the 20 inputs and 26 operators of the published generator the walk meets 228 graphs of one operator, 57,947 of
# two and 16,347,235 of three: the published program needs 100 seconds and 7 GB for them, and does not finish four.
#
# A term is evaluated once, however many graphs it is part of. And only a term that has a partner of equal value can be
# an output of a rule. Like Algorithm 1 we first drop what computes a value twice, such as the transpose of a transpose.

# %%
three = enumerate_terms(3)
values = evaluate(three, draw(1, field), arithmetic=field)
prints = {t: tensor_fingerprint(infer(t, shapes), value) for t, value in zip(three, values)}


def repeats(t: Term) -> bool:
    """Whether two different subterms of a term have one value."""
    below = [prints[node] for node in subterms(t)]
    return len(set(below)) < len(below)


kept = [t for t in three if not repeats(t)]
groups = classes(kept, field, draw(1, field))
useful = sum(map(len, groups))
print(f"{len(three)} terms of up to 3 operators, {len(kept)} of them compute nothing twice,")
print(f"{useful} of these have a partner, in {len(groups)} groups")
assert useful < len(kept) < len(three)

# %% [markdown]
# ## 6. The same rule many times
# Most of the pairs are one rule under other names: with a for d, or with a product by c on both sides. Renaming the
# variables in the order of first use, on both sides at once, makes equal what differs in names only.


# %%
def renamed(pair: tuple[Term, Term]) -> str:
    """A pair with its variables numbered by first use; the smaller text of the two directions."""
    texts = []
    for sides in (pair, pair[::-1]):
        names = {v.name: f"x{i}" for i, v in enumerate(variables(*sides))}
        texts.append(" = ".join(rename(side, names) for side in sides))
    return min(texts)


def rename(t: Term, names: dict[str, str]) -> str:
    """The text of a term under other names."""
    if t.is_variable:
        return names[t.name]
    return f"{t.operator}({', '.join(rename(argument, names) for argument in t.args)})"


all_pairs = [pair for group in groups for pair in combinations(group, 2)]
distinct = Counter(map(renamed, all_pairs))
print(f"{len(all_pairs)} pairs, {len(distinct)} after renaming; the most frequent ones:")
for text, count in distinct.most_common(5):
    print(f"{count:5} x {text}")
assert len(distinct) < len(all_pairs)
assert "matmul(matmul(x0, x1), x2) = matmul(x0, matmul(x1, x2))" in distinct

# %% [markdown]
# Question: `add(x0, x1) = add(x1, x0)` is in the list. Which of the other pairs are that rule with something around it?
# Leaving these out is the paper's second step of pruning, the common subgraph.
#
# All of them are still conjectures. Proving is the next tutorial.
