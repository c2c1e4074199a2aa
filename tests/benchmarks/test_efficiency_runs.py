"""Sample efficiency: what is recorded, what is left to record, and what the figures say about made-up runs."""

from __future__ import annotations

import math

import pytest

from runtime.machine import detect
from tests.benchmarks.efficiency_runs import (
    LAST_CONV2D,
    NETWORK,
    VARIANTS,
    Run,
    append_run,
    head_to_head,
    median_curve,
    read_runs,
    share_within,
)
from tests.benchmarks.record_efficiency import record, wanted
from tests.benchmarks.sample_efficiency import ablation, bought, cases

HERE, ELSEWHERE = detect().line, "another processor"


def run(case="C1D:1", variant="full", seed=0, trials=1000, curve=((1, 4.0), (100, 2.0), (500, 1.0)), machine=HERE):
    return Run(case, variant, seed, 1, trials, curve, machine)


def test_runs_are_read_back_and_only_missing_ones_are_made(tmp_path, monkeypatch):
    path, made = tmp_path / "runs.jsonl", []
    assert read_runs(path) == []
    kept = [run(LAST_CONV2D, "full"), run(LAST_CONV2D, "beam-search", machine=ELSEWHERE)]
    for each in kept:
        append_run(path, each)
    assert read_runs(path) == kept

    def fake(case, variant, seed, threads, trials):
        made.append((case, variant, seed))
        return run(case, variant, seed, trials)

    monkeypatch.setattr("tests.benchmarks.record_efficiency.tune_case", fake)
    record(["conv"], seeds=2, threads=1, trials=1000, budget_seconds=math.inf, path=path)
    expected = [triple for triple in wanted(["conv"], 2) if triple != (LAST_CONV2D, "full", 0)]
    assert made == expected and len(read_runs(path)) == 2 + len(expected)
    record(["conv"], seeds=2, threads=1, trials=1000, budget_seconds=math.inf, path=path)
    assert made == expected, "nothing is run twice"
    record(["conv"], seeds=2, threads=1, trials=1001, budget_seconds=0.0, path=path)
    assert made == expected, "no run is begun when the time is over"
    record(["conv"], 1, 1, 1001, math.inf, path, only=[LAST_CONV2D], variants=["full"])
    assert made[len(expected) :] == [(LAST_CONV2D, "full", 0)]
    record(["conv"], 1, 1, 1002, math.inf, path, only=["T2D"])
    assert len(made) == len(expected) + 1


def test_another_file_is_refused(tmp_path):
    path = tmp_path / "other.jsonl"
    path.write_text('{"case": 1}\n')
    with pytest.raises(ValueError, match="holds no tuning runs"):
        read_runs(path)


def test_every_run_that_is_wanted_has_a_variant():
    runs = list(wanted(["conv", "network", "cases"], 1))
    assert {variant for _, variant, _ in runs} == set(VARIANTS) and len(runs) == len(set(runs))
    assert len({case for case, _, _ in runs}) == 40 + 2


def test_only_fine_tuning_mutates_what_was_measured():
    assert VARIANTS["full"].options.local > 0 == VARIANTS["no-fine-tuning"].options.local
    assert VARIANTS["beam-search"].options.local == 0


def test_short_runs_say_nothing_about_a_thousand_trials(capsys):
    early, late = ((1, 1.0),), ((1, 4.0), (500, 1.0))
    assert share_within([run(curve=early), run("b", curve=late)]) == 0.5
    assert math.isnan(share_within([run(trials=200)]))
    assert cases([run(trials=200)])["cases_within_5_percent_at_200"] is None
    assert cases([run(curve=early)])["cases_within_5_percent_at_200"] == 1.0
    assert cases([]) == cases([run(NETWORK)])


def test_what_more_search_buys_is_told_from_runs_of_the_same_case_and_seed(capsys):
    default = [run(LAST_CONV2D), run("b", seed=1), run("b", trials=200)]
    more = [run(LAST_CONV2D, "five-times-the-search", curve=((1, 2.0), (50, 1.0), (600, 0.5)))]
    assert [len(pair) for pair in head_to_head(default + more, "five-times-the-search")] == [2]
    # after 200 trials 2.0 against 1.0, in the end 1.0 against 0.5; 1.0 / 0.95 is reached after 50 and after 500 trials
    assert bought(default + more)["five_times"] == {
        "pairs": 1, "gain_at_200": 2.0, "gain_at_end": 2.0, "share_of_trials": 0.1
    }  # fmt: skip
    assert "2.000 x as fast after 200 trials" in capsys.readouterr().out
    never = [run(LAST_CONV2D, "five-times-the-search", curve=((1, 3.0),))]
    assert bought(default + never)["five_times"]["share_of_trials"] is None
    assert bought(default)["five_times"] == {}


def test_medians_and_the_order_of_variants(capsys):
    three = [run(seed=seed, curve=((1, 9.0), (10, value))) for seed, value in enumerate((3.0, 1.0, 2.0))]
    assert median_curve(three, [1, 10]) == [(1, 9.0), (10, 2.0)]
    found = ablation(NETWORK, [run(NETWORK, name, curve=((1, 2.0 + n),)) for n, name in enumerate(VARIANTS)])
    assert found["relative_throughput"]["full"] == 1.0
    assert found["order"] == ["full", "no-fine-tuning", "limited-space", "no-task-scheduler"]
    assert "the paper's order: full > no-task-scheduler > no-fine-tuning > limited-space" in capsys.readouterr().out
    assert ablation(LAST_CONV2D, []) == {}


def test_runs_of_another_processor_are_not_compared(capsys):
    there = run(LAST_CONV2D, "five-times-the-search", machine=ELSEWHERE)
    assert head_to_head([run(LAST_CONV2D), there], "five-times-the-search") == []
    here = [run(LAST_CONV2D, "full"), run(LAST_CONV2D, "beam-search", curve=((1, 5.0),))]
    here.append(run(LAST_CONV2D, "beam-search", trials=10, curve=((1, 0.5),)))  # a longer one takes its place
    assert ablation(LAST_CONV2D, [there, *here])["relative_throughput"] == {"full": 1.0, "beam-search": 0.2}
