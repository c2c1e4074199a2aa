"""Boosted trees: the fast version equals the plain one, and both equal what the definitions say."""

from __future__ import annotations

from dataclasses import fields
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansor_mini.boosted_trees import GradientBoostedTrees, TreeOptions
from ansor_mini.tree_bins import bin_columns, choose_cuts, count_below, distinct_rows
from ansor_mini.tree_bundles import bundle_columns
from ansor_mini.tree_forest import Forest, predict, predict_plainly, walk
from ansor_mini.tree_growth import Gradients, GrowthOptions, PlainSplitter, grow, quantise
from ansor_mini.tree_histograms import PackedSplitter


@st.composite
def tables(draw):
    """A table of dependent columns, targets, weights, and programs of one to three rows."""
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    rows_of = rng.integers(1, 4, draw(st.integers(1, 60)))
    program = np.repeat(np.arange(len(rows_of)), rows_of)
    base = rng.integers(0, draw(st.integers(1, 40)), (len(program), 4))
    mixes = rng.integers(0, 3, (4, draw(st.integers(1, 9))))
    X = (base @ mixes).astype(np.float32) / 2
    y = rng.integers(-4, 5, len(rows_of)).astype(np.float64)
    return X, y, program, rng.integers(0, 3, len(rows_of)).astype(np.float64)


def fitted(table, **options):
    X, y, program, weights = table
    rng = np.random.default_rng(3)
    return GradientBoostedTrees(rng=rng, **{"trees": 6, **options}).fit(X, y, program=program, weights=weights)


def scores(model, table):
    return np.bincount(table[2], weights=model.predict(table[0]), minlength=len(table[1]))


def loss(model, table):
    return float(table[3] @ (scores(model, table) - table[1]) ** 2)


def assert_same_forest(first, second):
    for part in fields(Forest):
        assert np.array_equal(getattr(first.forest, part.name), getattr(second.forest, part.name)), part.name
    assert first.base == second.base


@given(
    tables(), st.integers(0, 5), st.sampled_from([2, 7, 64]), st.sampled_from([0.0, 0.5]), st.sampled_from([0.0, 2.0])
)
def test_packed_and_plain_grow_the_same_trees(table, depth, bins, gamma, weight):
    options = {"depth": depth, "bins": bins, "gamma": gamma, "min_child_weight": weight}
    assert_same_forest(fitted(table, **options), fitted(table, splitter="plain", **options))


@given(tables(), st.sampled_from([0.3, 1.0]), st.sampled_from([0.3, 1.0]))
def test_sampling_is_the_same_for_both(table, rows, columns):
    options = {"rows": rows, "columns": columns}
    assert_same_forest(fitted(table, **options), fitted(table, splitter="plain", **options))


@given(tables(), st.booleans())
def test_all_trees_at_once_predict_what_one_at_a_time_does(table, by_column):
    X = np.asfortranarray(table[0]) if by_column else table[0]
    model = fitted(table)
    expected = predict_plainly(model.forest, X)
    np.testing.assert_allclose(predict(model.forest, X), expected, rtol=1e-12, atol=1e-12)
    walked = walk(model.forest, np.ascontiguousarray(X.T[model.forest.tested]))
    np.testing.assert_allclose(walked, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("rows", [1, 64, 1000, 9000])
def test_trees_of_any_size_predict_the_same_in_any_way(rows):
    rng = np.random.default_rng(rows)
    X = rng.standard_normal((1500, 6)).astype(np.float32)
    for depth in (2, 9, 12):
        model = GradientBoostedTrees(trees=4, depth=depth, gamma=0.0, bins=256).fit(X, X[:, 0] * X[:, 1] + X[:, 2])
        some = rng.standard_normal((rows, 6)).astype(np.float32)
        expected = predict_plainly(model.forest, some)
        np.testing.assert_allclose(predict(model.forest, some), expected, rtol=1e-12, atol=1e-12)
        tested = np.ascontiguousarray(some.T[model.tested])
        np.testing.assert_allclose(model.forest.slices.predict(tested), expected, rtol=1e-12, atol=1e-12)
        assert np.array_equal(model.predict_tested(tested), model.predict(some))


def best_by_hand(bins, gradients, rows, l2):
    """The largest gain over all tests of one node, straight from the formula."""

    def score(chosen):
        return gradients.whole_g[chosen].sum() ** 2 / (gradients.whole_h[chosen].sum() + l2)

    unit = gradients.units[0] ** 2 / gradients.units[1]
    return max(
        (score(rows[code <= cut]) + score(rows[code > cut]) - score(rows)) * unit
        for code, cuts in zip(bins.codes[:, rows], bins.cuts)
        for cut in range(len(cuts))
    )


@given(tables())
@pytest.mark.parametrize("splitter", [PlainSplitter, PackedSplitter])
def test_the_root_test_has_the_largest_gain(splitter, table):
    X, y, program, weights = table
    bins = bin_columns(X)
    if not len(bins.columns):
        return
    gradients = Gradients.of((-weights * y)[program], weights[program])
    rows, finder = np.arange(len(X)), splitter(bins)
    finder.start(gradients, np.ones(len(bins.candidates[0]), bool))
    gain, _ = finder.best(rows, np.zeros(len(X), np.int64), 1, np.zeros(0, np.int64), GrowthOptions())
    assert gain[0] == pytest.approx(best_by_hand(bins, gradients, rows, 1.0 / gradients.units[1]), abs=1e-6)


@given(tables())
def test_a_leaf_is_worth_minus_g_over_h_plus_lambda(table):
    X, y, program, weights = table
    bins = bin_columns(X)
    if not len(bins.columns):
        return
    gradients = Gradients.of((-weights * y)[program], weights[program])
    allowed = np.ones(len(bins.candidates[0]), bool)
    tree, leaf = grow(bins, gradients, allowed, PackedSplitter(bins), GrowthOptions(depth=3, gamma=0.0))
    for node in np.unique(leaf):
        inside = leaf == node
        expected = -gradients.g[inside].sum() / (gradients.h[inside].sum() + 1.0)
        assert tree.value[node] == pytest.approx(expected)
        assert tree.left[node] == node


@given(tables())
def test_rows_reach_the_same_leaf_in_training_and_in_prediction(table):
    X, y, program, weights = table
    bins = bin_columns(X)
    if not len(bins.columns):
        return
    gradients = Gradients.of((-weights * y)[program], weights[program])
    allowed = np.ones(len(bins.candidates[0]), bool)
    tree, leaf = grow(bins, gradients, allowed, PackedSplitter(bins), GrowthOptions(gamma=0.0))
    node = np.zeros(len(X), np.int64)
    for _ in range(7):
        node = tree.left[node] + (X[np.arange(len(X)), tree.column[node]] > tree.threshold[node])
    assert np.array_equal(node, leaf)


@given(tables())
def test_more_trees_never_fit_worse(table):
    losses = [loss(fitted(table, trees=trees, gamma=0.0), table) for trees in (0, 1, 2, 4, 8)]
    assert all(later <= earlier + 1e-9 for earlier, later in zip(losses, losses[1:]))


@given(tables())
def test_deep_trees_without_shrinkage_learn_distinct_rows_by_heart(table):
    X, y, _, _ = table
    kept = np.unique(X, axis=0, return_index=True)[1]
    kept = kept[kept < len(y)]
    if len(kept):
        model = GradientBoostedTrees(trees=40, depth=12, shrinkage=1.0, gamma=0.0, l2=0.0, bins=256)
        model.fit(X[kept], y[kept])
        np.testing.assert_allclose(model.predict(X[kept]), y[kept], atol=1e-6)


def test_statement_scores_add_up():
    X = np.array(list(product(range(4), range(4))), np.float32)
    program = np.repeat(np.arange(8), 2)
    y = X.sum(axis=1).reshape(8, 2).sum(axis=1)
    model = GradientBoostedTrees(trees=200, gamma=0.0, l2=0.1).fit(X, y, program=program)
    np.testing.assert_allclose(model.predict(X).reshape(8, 2).sum(axis=1), y, atol=0.05)


def test_a_program_of_weight_zero_teaches_nothing():
    X = np.arange(20, dtype=np.float32)[:, None]
    y = np.where(np.arange(20) == 7, 1000.0, 1.0)
    weights = np.where(np.arange(20) == 7, 0.0, 1.0)
    model = GradientBoostedTrees(trees=20).fit(X, y, weights=weights)
    np.testing.assert_allclose(model.predict(X), 1.0)


def test_constant_columns_give_the_weighted_mean():
    model = GradientBoostedTrees().fit(np.ones((4, 3)), np.array([0.0, 0, 0, 8]), weights=np.array([1.0, 1, 1, 5]))
    assert model.predict(np.zeros((2, 3))).tolist() == [5.0, 5.0]


@given(tables())
def test_bundles_hold_every_column_once_and_lose_nothing(table):
    bins = bin_columns(table[0])
    bundles = bundle_columns(bins, limit=100)
    assert sorted(c for bundle in bundles for c in bundle.members) == list(range(len(bins.columns)))
    column_of, cut_of = bins.candidates
    for bundle in bundles:
        below = bins.codes[column_of[bundle.tests]] <= cut_of[bundle.tests][:, None]
        assert np.array_equal(bundle.below[bundle.codes].T, below)
        assert len(bundle.members) == 1 or bundle.size <= 100


@given(tables())
def test_distinct_rows_give_back_the_table(table):
    columns = table[0].T
    first, number = distinct_rows(columns)
    assert np.array_equal(columns[:, first][:, number], columns)
    assert len(first) == len(np.unique(columns, axis=1).T) and np.all(np.diff(first) > 0)


@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=80), st.integers(2, 64))
def test_cuts_lie_between_values_and_codes_count_them(values, bins):
    column = np.array(values, np.float32)
    cuts = choose_cuts(column, bins)
    assert len(cuts) < bins and np.all(np.diff(cuts) > 0)
    assert np.array_equal(count_below(column, cuts), (column[:, None] > cuts).sum(axis=1))
    if len(np.unique(column)) <= bins:
        assert len(cuts) == len(np.unique(column)) - 1


@given(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=100))
def test_quantised_sums_fit_half_a_double(values):
    whole, unit = quantise(np.array(values))
    assert np.abs(whole).sum() < 2**25
    assert np.array_equal(whole, np.rint(whole))
    assert np.abs(whole * unit - values).max() <= unit / 2


@given(tables())
def test_save_and_load(tmp_path_factory, table):
    path = tmp_path_factory.mktemp("trees") / "model.npz"
    model = fitted(table, rows=0.5)
    model.save(path)
    loaded = GradientBoostedTrees.load(path)
    assert_same_forest(model, loaded)
    assert loaded.options == model.options
    assert np.array_equal(loaded.predict(table[0]), model.predict(table[0]))


def test_a_file_that_is_no_model_is_one_clear_error(tmp_path):
    (tmp_path / "text.npz").write_text("no")
    np.savez(tmp_path / "other.npz", a=1)
    for name in ("text.npz", "other.npz"):
        with pytest.raises(ValueError, match="not a saved GradientBoostedTrees"):
            GradientBoostedTrees.load(tmp_path / name)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"depth": -1}, ValueError, "depth must be between 0 and 32, got -1"),
        ({"bins": 1000}, ValueError, "bins must be between 2 and 256"),
        ({"eta": 0.1}, TypeError, "unknown options \\['eta'\\]"),
        ({"rows": 0.5}, ValueError, "needs rng"),
        ({"splitter": "magic"}, ValueError, "one of \\['packed', 'plain'\\], got 'magic'"),
    ],
)
def test_bad_options(options, error, words):
    with pytest.raises(error, match=words):
        GradientBoostedTrees(**options)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"X": np.zeros(3)}, "X must be \\[rows, columns\\]"),
        ({"X": np.full((3, 1), np.nan)}, "X must be finite, got 3"),
        ({"y": np.zeros(2)}, "stay below the 2 programs"),
        ({"program": np.array([1, 0, 2])}, "must ascend"),
        ({"program": np.array([0.0, 1, 2])}, "must be 3 integers"),
        ({"weights": np.array([1.0, -1, 1])}, "none negative"),
    ],
)
def test_bad_training_data(arguments, words):
    good = {"X": np.eye(3), "y": np.arange(3.0)}
    with pytest.raises(ValueError, match=words):
        GradientBoostedTrees().fit(**{**good, **arguments})


def test_importance_names_the_column_that_matters():
    rng = np.random.default_rng(0)
    X = rng.integers(0, 9, (200, 3))
    importance = GradientBoostedTrees(trees=5).fit(X, X[:, 1] ** 2).importance()
    assert importance.argmax() == 1 and importance.sum() == pytest.approx(1.0)
    assert GradientBoostedTrees(trees=0).fit(X, X[:, 1]).importance().tolist() == [0, 0, 0]


def test_predicting_another_width_is_refused():
    model = GradientBoostedTrees().fit(np.eye(3), np.arange(3.0))
    with pytest.raises(ValueError, match=r"\(rows, 3\), as it had in fit, got \(2, 4\)"):
        model.predict(np.zeros((2, 4)))


def test_defaults_are_the_papers_but_for_the_depth():
    options = TreeOptions()
    assert (options.shrinkage, options.gamma, options.min_child_weight) == (0.2, 0.001, 0.0)
