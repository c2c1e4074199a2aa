"""Axioms about axioms: which follow from others, and which cannot be true together."""

import pytest

from taso_mini.axioms import AXIOMS, LEMMAS, WRONG, Axiom
from taso_mini.proving.consistency import contradiction, derive, redundant, require_consistent
from taso_mini.rules_text import parse_term

PUBLISHED = [axiom for axiom in AXIOMS if axiom.number]
ASSOCIATES = next(axiom for axiom in WRONG if axiom.name == "concat-associates")


def named(name):
    return next(axiom for axiom in AXIOMS + LEMMAS if axiom.name == name)


def axiom_of(name, left, right, **kinds):
    return Axiom(name, parse_term(left, kinds), parse_term(right, kinds))


def test_the_published_axioms_are_there():
    assert sorted(axiom.number for axiom in PUBLISHED) == list(range(1, 45))


def test_every_lemma_follows_from_the_axioms_and_earlier_lemmas():
    known = [*PUBLISHED, named("smul-of-scalars")]
    for lemma in LEMMAS:
        assert derive(lemma, known) is not None, lemma.name
        known.append(lemma)


@pytest.mark.slow
def test_only_one_published_axiom_is_redundant():
    assert list(redundant(PUBLISHED)) == ["transpose-add"]


def test_an_axiom_stated_twice_is_redundant():
    twice = axiom_of("add-again", "add(x, y)", "add(y, x)", x="tensor", y="tensor")
    assert set(redundant([named("add-commutes"), named("mul-commutes"), twice])) == {"add-commutes", "add-again"}


def test_associativity_of_concatenation_contradicts_splitting():
    found = contradiction((*AXIOMS, ASSOCIATES), [ASSOCIATES])
    assert set(found.core) == {"split0-concat", "split1-concat", "concat-associates"}
    assert found.proof.steps[0].before.is_variable and found.proof.steps[-1].after.is_variable
    assert found.proof.steps[0].before is not found.proof.steps[-1].after
    with pytest.raises(ValueError, match="concat-associates"):
        require_consistent((*AXIOMS, ASSOCIATES), [ASSOCIATES])


def test_a_core_has_nothing_to_spare():
    drops = axiom_of("add-drops", "add(x, y)", "x", x="tensor", y="tensor")
    core = contradiction((*AXIOMS, drops), [drops]).core
    assert set(core) == {"add-commutes", "add-drops"}
    assert contradiction([axiom for axiom in AXIOMS if axiom.name != "add-commutes"] + [drops], [drops]) is None


def test_the_axioms_about_split_and_add_are_consistent():
    require_consistent(AXIOMS, [named(name) for name in ("add-commutes", "split0-concat", "concat-add")])


@pytest.mark.slow
def test_no_axiom_is_known_to_contradict_the_others():
    require_consistent(AXIOMS + LEMMAS)
