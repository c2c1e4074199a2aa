"""Are the shipped rules, the axioms and the verifiers themselves sound? Counted, not argued.

Paper: TASO §3, §7.6. Three parts:

1. Every shipped rule is computed on at least 1,000 random instances: shapes, strides, paddings, groups, orders in
   memory; in a finite field, on floats and on exact integers. None may be wrong.
2. Mutants of true rules, the shipped and the published ones, go to both verifiers. None may be proved by one and
   refuted by the other, and none that is accepted may fail a heavier test.
3. Every axiom is checked on all its small instances, grouped convolutions included.

`--quick` takes some of the rules, fewer instances of them and of the axioms, and fewer mutants; it says how many.
With `--keep FILE`, rules that were found right are written there one by one and are not run again.
"""

from __future__ import annotations

import json
import sys
import time
from argparse import Namespace
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from runtime.command_line import Parser
from taso_mini.axiom_validation import Validation, validate_all
from taso_mini.axioms import AXIOMS, LEMMAS, WRONG
from taso_mini.counterexamples import as_code
from taso_mini.mutants import Mutant, draw_mutants
from taso_mini.published_rules import read_protobuf
from taso_mini.rules_text import RULES_DIRECTORY, load_rules
from taso_mini.soundness import Campaign, campaign, campaigns, judge_mutant
from taso_mini.terms import Substitution
from taso_mini.verdicts import Judgement
from tests.benchmarks.command import main
from tests.source import ROOT

PUBLISHED = ROOT / "tests" / "data" / "taso_published_133.pb"
INSTANCES, MUTANTS = 1000, 950
QUICK_RULES, QUICK_INSTANCES, QUICK_MUTANTS, QUICK_LENGTH = 80, 15, 60, 2
LENGTH = 4  # of an axis, at most, in the axioms' instances
ACCEPTED_INSTANCES = 300  # of the heavier test for mutants that both verifiers accept
PROGRESS_SECONDS = 10.0


def shipped_rules() -> list[Substitution]:
    """Return the rules of every file that the package ships."""
    return [rule for path in sorted(Path(RULES_DIRECTORY).glob("*.txt")) for rule in load_rules(path)]


def run_campaigns(
    rules: Sequence[Substitution], instances: int, executor: Executor | None, keep: Path | None = None
) -> dict[str, Any]:
    """Run part 1, print its table and return its figures."""
    started = time.perf_counter()
    done = _kept(rules, instances, keep)
    if done:
        print(f"{len(done)} rules from {keep}")
    left = [rule for rule in rules if rule not in {result.rule for result in done}]
    for result in _shown("rules", len(left), campaigns(left, instances=instances, executor=executor)):
        done.append(result)
        if keep is not None and not sum(result.wrong.values()):
            with keep.open("a", encoding="utf-8") as file:
                file.write(json.dumps(_line(result, instances)) + "\n")
    wrong = [result for result in done if sum(result.wrong.values())]
    total: Counter[str] = Counter()
    for result in done:
        total.update(result.groups)
    print(
        f"{len(done)} rules, at least {min(r.instances for r in done)} instances of each, "
        f"{sum(r.instances for r in done)} in all, {sum(r.large for r in done)} of them large"
    )
    print("  groups: " + ", ".join(f"{name}: {count}" for name, count in total.items()))
    print(
        f"  computed in the finite field, in float64 and in exact integers "
        f"(refused for size: {sum(r.refused for r in done)}); wrong: {len(wrong)} rules"
    )
    for result in wrong:
        _show_wrong(result)
    return {
        "rules": len(done),
        "instances_least": min(r.instances for r in done),
        "instances": sum(r.instances for r in done),
        "large_least": min(r.large for r in done),
        "wrong": len(wrong),
        "campaign_seconds": time.perf_counter() - started,
    }


def _shown(what: str, total: int, results: Iterator[Any]) -> Iterator[Any]:
    """Hand on results, and say on standard error every few seconds how many there are."""
    started = shown = time.perf_counter()
    for count, result in enumerate(results, start=1):
        now = time.perf_counter()
        if now - shown > PROGRESS_SECONDS or count == total:
            sys.stderr.write(f"{what}: {count} of {total}, {now - started:.0f} s\n")
            shown = now
        yield result


def _line(result: Campaign, asked: int) -> dict[str, Any]:
    return {
        "rule": str(result.rule),
        "asked": asked,
        "instances": result.instances,
        "large": result.large,
        "groups": dict(result.groups),
        "wrong": dict(result.wrong),
        "refused": result.refused,
    }


def _kept(rules: Sequence[Substitution], asked: int, keep: Path | None) -> list[Campaign]:
    """Return the results that a file has for some of these rules, asked for as many instances."""
    if keep is None or not keep.exists():
        return []
    lines = [json.loads(line) for line in keep.read_text(encoding="utf-8").splitlines()]
    found = {line["rule"]: line for line in lines if line["asked"] == asked}
    return [
        Campaign(rule, one["instances"], one["large"], Counter(one["groups"]), Counter(one["wrong"]), one["refused"])
        for rule in rules
        if (one := found.get(str(rule)))
    ]


def _show_wrong(result: Campaign) -> None:
    print(f"  {result.rule}\n    wrong: {dict(+result.wrong)}")
    if result.counterexample is not None and result.wrong["finite field"]:
        print(as_code(result.rule.source, result.rule.target, result.counterexample))


def judge_mutants(chosen: Sequence[Mutant], executor: Executor | None) -> dict[str, Any]:
    """Run part 2, print its table and return its figures."""
    started = time.perf_counter()
    answers = map(judge_mutant, chosen) if executor is None else executor.map(judge_mutant, chosen, chunksize=8)
    judged = list(_shown("mutants", len(chosen), answers))
    kinds = Counter((judgement.proof.kind, judgement.test.kind) for judgement in judged)
    changes = Counter(mutant.change for mutant in chosen)
    print(f"\n{len(judged)} mutants (" + ", ".join(f"{name}: {count}" for name, count in sorted(changes.items())) + ")")
    for (proof, test), count in sorted(kinds.items()):
        print(f"  {count:5d}  proof: {proof:24} tests: {test}")
    contradictions = [judgement for judgement in judged if judgement.contradiction]
    accepted = [judgement for judgement in judged if judgement.kind.startswith("proved")]
    untrue = [judgement for judgement in accepted if _fails_heavier_test(judgement)]
    for title, group in (
        ("proved and refuted", contradictions),
        ("accepted but untrue", untrue),
        ("not refuted and not proved", [j for j in judged if j.kind == "unknown"]),
        (
            "degenerate",
            [j for j in judged if j.test.kind == "degenerate" or j.test.kind == "untyped" and j.proof.proved],
        ),
    ):
        print(f"  {title}: {len(group)}")
        for judgement in group:
            print(f"    {judgement.rule}  (tests: {judgement.test.total}, large: {judgement.test.large})")
    return {
        "mutants": len(judged),
        "mutants_refuted": sum(j.test.kind == "refuted" for j in judged),
        "mutants_accepted": len(accepted),
        "mutants_degenerate": sum(j.kind == "degenerate" for j in judged),
        "mutants_unknown": sum(j.kind == "unknown" for j in judged),
        "proved_and_refuted": len(contradictions),
        "accepted_untrue": len(untrue),
        "mutant_seconds": time.perf_counter() - started,
    }


def _fails_heavier_test(judgement: Judgement) -> bool:
    rule = replace(judgement.rule, conditions=judgement.proof.conditions)
    return bool(sum(campaign(rule, instances=ACCEPTED_INSTANCES, seed=99).wrong.values()))


def validate_axioms(largest: int) -> dict[str, Any]:
    """Run part 3, print its table and return its figures."""
    started = time.process_time()
    done = list(_shown("axioms", len(AXIOMS + LEMMAS), validate_all(AXIOMS + LEMMAS, largest=largest)))
    seconds = time.process_time() - started
    wrong: list[Validation] = list(validate_all(WRONG, largest=3))
    print(
        f"\n{len(done)} axioms, lengths up to {largest}, {sum(r.instances for r in done)} instances, "
        f"{sum(r.excluded for r in done)} more excluded by conditions, {seconds:.1f} s of one core"
    )
    for result in done:
        print(f"  {result}")
    print("known to be wrong:")
    for result in wrong:
        print(f"  {result}")
    return {
        "axioms": len(done),
        "axiom_instances": sum(r.instances + r.excluded for r in done),
        "axiom_failures": sum(not r.holds for r in done),
        "axiom_seconds": seconds,
        "excluded_needlessly": sum(r.needlessly for r in done),
        "wrong_axioms_refuted": sum(r.failure is not None for r in wrong),
        "wrong_axioms": len(wrong),
    }


def add_arguments(parser: Parser) -> None:
    """Declare what can be chosen beside `--quick`."""
    parser.add_argument("--jobs", type=int, default=1, help="processes for rules and mutants (default: %(default)s)")
    parser.add_argument("--instances", type=int, default=INSTANCES, help="of each rule (default: %(default)s)")
    parser.add_argument("--mutants", type=int, default=MUTANTS, help="how many (default: %(default)s)")
    parser.add_argument("--keep", type=Path, metavar="FILE", help="write finished rules there; go on from what it has")


def benchmark(quick: bool, options: Namespace) -> dict[str, Any]:
    """Run all parts."""
    rules = shipped_rules()
    count, instances, length = (
        (QUICK_MUTANTS, QUICK_INSTANCES, QUICK_LENGTH) if quick else (options.mutants, options.instances, LENGTH)
    )
    chosen = draw_mutants([*rules, *read_protobuf(PUBLISHED)], count, rng=np.random.default_rng(0))
    some = rules[:: -(-len(rules) // QUICK_RULES)] if quick else rules
    with ProcessPoolExecutor(options.jobs) if options.jobs > 1 else nullcontext() as executor:
        figures = {"rules_shipped": len(rules), **run_campaigns(some, instances, executor, options.keep)}
        figures |= judge_mutants(chosen, executor)
    return figures | validate_axioms(length)


if __name__ == "__main__":
    sys.exit(main("soundness", benchmark, __doc__.splitlines()[0], add_arguments))
