"""From profiles to rules: reproducible, counted, and readable again."""

from taso_mini.generation import generate
from taso_mini.generator import Profile
from taso_mini.profiles import CONV, CONV_RELU, PROFILES, RELU
from taso_mini.rules_text import parse_rules, show_rules
from taso_mini.terms import variable

FUSION = Profile(
    "fusion",
    ((variable("x1", "image"), (1, 4, 3, 3)), (variable("w1", "kernel"), (4, 4, 3, 3))),
    (CONV, CONV_RELU, RELU),
    2,
)


def test_generation_is_reproducible_and_parses():
    chosen = [FUSION, *(profile for profile in PROFILES if profile.name == "exchange")]
    (first, funnel), (second, _) = (generate(chosen, seed=3) for _ in range(2))
    assert first == second and parse_rules(show_rules(first)) == tuple(first)
    assert "relu-conv-is-conv-relu" in {rule.name for rule in first}
    counts = list(funnel.kept.values())
    *pruned, directed, shipped = counts[1:]  # after the tensors evaluated; up to undirected rules
    assert pruned == sorted(pruned, reverse=True) and pruned[0] > pruned[-1] > 0
    assert len(first) == shipped <= directed <= 2 * pruned[-1]
    assert str(funnel).count("\n") + 1 == len(counts) + len(funnel.dropped)
