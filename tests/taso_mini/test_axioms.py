"""Every axiom holds on small shapes, every known-wrong one is refuted, and Z3 agrees about lemmas."""

import pytest

from taso_mini.axiom_validation import validate
from taso_mini.axioms import AXIOMS, LEMMAS, WRONG
from taso_mini.verifier import Verifier


@pytest.mark.parametrize("axiom", AXIOMS + LEMMAS, ids=lambda axiom: axiom.name)
def test_axiom_holds_on_small_shapes(axiom):
    result = validate(axiom, largest=2, limit=60)
    assert result.holds, str(result)


@pytest.mark.parametrize("axiom", WRONG, ids=lambda axiom: axiom.name)
def test_wrong_axiom_is_refuted(axiom):
    result = validate(axiom, largest=3)
    assert result.failure is not None, str(result)


@pytest.mark.parametrize("axiom", WRONG, ids=lambda axiom: axiom.name)
def test_wrong_axiom_is_not_proved_without_conditions(axiom):
    proof = Verifier().prove([axiom.left], [axiom.right])
    assert proof.verdict == "unknown" or proof.conditions


def test_names_are_unique():
    names = [axiom.name for axiom in AXIOMS + LEMMAS + WRONG]
    assert len(set(names)) == len(names)


@pytest.mark.slow
@pytest.mark.parametrize("axiom", AXIOMS + LEMMAS, ids=lambda axiom: axiom.name)
def test_axiom_holds_on_more_shapes(axiom):
    result = validate(axiom, largest=3, limit=3000)
    assert result.holds, str(result)
