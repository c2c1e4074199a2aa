"""Gradient-boosted regression trees on NumPy alone.

Paper: Ansor §5.2

Every tree is fitted to what the trees before it got wrong. The loss is the paper's: a program has several rows, one
per statement, its score is the *sum* of the predictions of its rows, and

    loss = Σ over programs of weight · (Σ over its rows of prediction - y)²

so that each row has the gradient weight · (score - y) and the hessian weight. With one row per program this is the
ordinary weighted squared error, and the class is an ordinary regressor:

>>> rng = np.random.default_rng(0)
>>> X = rng.integers(0, 8, (400, 3)).astype(np.float32)
>>> y = X[:, 0] * X[:, 1] + (X[:, 2] > 3)
>>> model = GradientBoostedTrees(trees=100).fit(X[:300], y[:300])
>>> bool(np.corrcoef(model.predict(X[300:]), y[300:])[0, 1] > 0.97)
True

The parts: `tree_bins` turns columns into small integers, `tree_growth` grows one tree, `tree_histograms` does it fast,
`tree_forest` and `tree_slices` predict. Left out: missing values, categories, other losses, early stopping.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import numpy as np

from ansor_mini import tree_forest
from ansor_mini.tree_bins import MAX_BINS, Bins, bin_columns, distinct_rows
from ansor_mini.tree_forest import Forest
from ansor_mini.tree_growth import Gradients, GrowthOptions, PlainSplitter, Splitter, Tree, grow
from ansor_mini.tree_histograms import PackedSplitter

FORMAT = 1

# How the best test of a node is found; both grow the same trees.
SPLITTERS: dict[str, Callable[[Bins], Splitter]] = {"packed": PackedSplitter, "plain": PlainSplitter}


@dataclass(frozen=True)
class TreeOptions:
    """How many trees, and what each may look like.

    trees: how many. depth: levels of tests in each. shrinkage: share of each tree's correction that is applied (eta).
    gamma: least gain of a test. l2: added to every sum of hessians (lambda). min_child_weight: least sum of hessians of
    a leaf. bins: thresholds tried per column, plus one. rows, columns: share of the programs and of the columns that
    each tree sees; below 1 they need a `Generator`.
    The paper's code uses xgboost with depth 10, shrinkage 0.2, gamma 0.001, min_child_weight 0; depth 6 is as accurate.
    """

    trees: int = 100
    depth: int = 6
    shrinkage: float = 0.2
    gamma: float = 0.001
    l2: float = 1.0
    min_child_weight: float = 0.0
    bins: int = 64
    rows: float = 1.0
    columns: float = 1.0

    def __post_init__(self) -> None:
        for name, least, most in (
            ("trees", 0, 1e6), ("depth", 0, 32), ("shrinkage", 1e-9, 1), ("gamma", 0, np.inf), ("l2", 0, np.inf),
            ("min_child_weight", 0, np.inf), ("bins", 2, MAX_BINS), ("rows", 1e-9, 1), ("columns", 1e-9, 1),
        ):  # fmt: skip
            if not least <= getattr(self, name) <= most:
                raise ValueError(f"{name} must be between {least:g} and {most:g}, got {getattr(self, name)}")

    @property
    def growth(self) -> GrowthOptions:
        """The part that concerns one tree."""
        return GrowthOptions(self.depth, self.gamma, self.l2, self.min_child_weight)


class GradientBoostedTrees:
    """A regressor: `fit`, then `predict`; `save` and `load`.

    Attributes: options; forest: the trees, with their leaf values already shrunk; base: what every row predicts before
    the first tree; width: number of columns, 0 before `fit`.
    """

    def __init__(
        self, *, rng: np.random.Generator | None = None, splitter: str = "packed", **options: int | float
    ) -> None:
        """Prepare a model with `TreeOptions(**options)`.

        rng: draws the sampled rows and columns. splitter: one of `SPLITTERS`.
        Raises: ValueError: a value out of range, or sampling without a generator; TypeError: an unknown option.
        """
        known = {field.name for field in fields(TreeOptions)}
        if set(options) - known:
            raise TypeError(f"unknown options {sorted(set(options) - known)}; expected some of {sorted(known)}")
        if splitter not in SPLITTERS:
            raise ValueError(f"splitter must be one of {sorted(SPLITTERS)}, got {splitter!r}")
        self.options = TreeOptions(**options)  # type: ignore[arg-type]
        if rng is None and (self.options.rows < 1 or self.options.columns < 1):
            raise ValueError("sampling rows or columns needs rng, a numpy.random.Generator; got None")
        self.rng, self.splitter = rng, splitter
        self.forest = Forest.of(())
        self.base, self.width = 0.0, 0

    def fit(
        self,
        X: np.ndarray,
        y: np.ndarray,
        *,
        program: np.ndarray | None = None,
        weights: np.ndarray | None = None,
    ) -> GradientBoostedTrees:
        """Fit to y; returns self.

        Shapes: X [rows, columns], compared in float32; y, weights [programs]; program [rows], which program each row
        belongs to, ascending from 0; without it each row is a program of its own.
        Raises: ValueError: shapes that do not fit, numbers that are not finite, negative weights.
        """
        X, y, program, weights = _checked(X, y, program, weights)
        self.width = X.shape[1]
        bins = bin_columns(X, self.options.bins)
        rows_of = np.bincount(program, minlength=len(y))
        # The constant that minimises the loss; a program of r rows scores r times as much.
        self.base = float((weights * rows_of) @ y / max((weights * rows_of) @ rows_of, 1e-30))
        self.forest = Forest.of(self._boost(bins, y, program, weights, self.base * rows_of))
        return self

    def _boost(
        self, bins: Bins, y: np.ndarray, program: np.ndarray, weights: np.ndarray, score: np.ndarray
    ) -> list[Tree]:
        """The trees, one after the other; `score` [programs] is what has been predicted so far."""
        options = self.options
        if not len(bins.columns):
            return []
        first, row = distinct_rows(bins.codes)
        bins = bins.take(first)
        splitter = SPLITTERS[self.splitter](bins)
        column_of, _ = bins.candidates
        allowed = np.ones(len(column_of), bool)
        sampled = np.ones(len(y))
        trees = []
        for _ in range(options.trees):
            if self.rng is not None and options.rows < 1:
                sampled = self._share(len(y), options.rows)
            if self.rng is not None and options.columns < 1:
                allowed = self._share(len(bins.columns), options.columns)[column_of]
            hessian = sampled * weights
            gradient = hessian * (score - y)
            gradients = Gradients.of(*(np.bincount(row, weights=of[program]) for of in (gradient, hessian)))
            tree, leaf = grow(bins, gradients, allowed, splitter, options.growth)
            tree = replace(tree, value=tree.value * options.shrinkage)
            score = score + np.bincount(program, weights=tree.value[leaf][row], minlength=len(y))
            trees.append(tree)
            if len(tree) == 1 and options.rows == options.columns == 1:
                break  # no test gains anything any more
        return trees

    def _share(self, count: int, share: float) -> np.ndarray:
        """A random part of `count` things, at least one of them: bool [count]."""
        assert self.rng is not None
        chosen = np.zeros(count, bool)
        chosen[self.rng.permutation(count)[: max(1, round(share * count))]] = True
        return chosen

    def predict(self, X: np.ndarray) -> np.ndarray:
        """What each row of X [rows, columns] predicts, float64 [rows]; add up a program's rows for its score.

        Either memory order of X is read in place when it is float32.  Raises: ValueError: another number of columns.
        """
        X = np.asarray(X, np.float32)
        if X.ndim != 2 or X.shape[1] != self.width:
            raise ValueError(f"X must have shape (rows, {self.width}), as it had in fit, got {X.shape}")
        return tree_forest.predict(self.forest, X) + self.base

    @property
    def tested(self) -> np.ndarray:
        """The columns that some test looks at, ascending; the others make no difference to a prediction."""
        return self.forest.tested

    def predict_tested(self, tested: np.ndarray) -> np.ndarray:
        """The same as `predict`, given these columns alone, float32 [len(tested), rows]."""
        return tree_forest.predict_tested(self.forest, tested) + self.base

    def importance(self) -> np.ndarray:
        """The share of each column in the gain of all tests, float64 [columns]; zeros when there is no test."""
        total = np.bincount(self.forest.column, weights=self.forest.gain, minlength=self.width)
        return total / max(total.sum(), 1e-30)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model to one .npz file: plain arrays and numbers, nothing that runs when it is read."""
        with Path(path).open("wb") as file:
            np.savez_compressed(file, **self.arrays())  # type: ignore[arg-type]

    def arrays(self) -> dict[str, np.ndarray]:
        """The model as named arrays, as `save` writes them."""
        arrays = {f"forest_{part.name}": np.asarray(getattr(self.forest, part.name)) for part in fields(Forest)}
        arrays |= {f"option_{name}": np.asarray(value) for name, value in asdict(self.options).items()}
        return {"format": np.asarray(FORMAT), "base": np.asarray(self.base), "width": np.asarray(self.width)} | arrays

    @staticmethod
    def load(path: str | os.PathLike[str]) -> GradientBoostedTrees:
        """Read a saved model.  Raises: ValueError: the file is not one; OSError: it cannot be read."""
        try:
            with np.load(path, allow_pickle=False) as file:
                return GradientBoostedTrees.from_arrays(dict(file))
        except (ValueError, KeyError, EOFError, TypeError) as error:
            raise ValueError(f"{path} is not a saved GradientBoostedTrees: {error}") from None

    @staticmethod
    def from_arrays(arrays: dict[str, np.ndarray]) -> GradientBoostedTrees:
        """The model out of what `arrays` gave.  Raises: ValueError: another format; KeyError: something is missing."""
        if int(arrays["format"]) != FORMAT:
            raise ValueError(f"format {int(arrays['format'])}, expected {FORMAT}")
        options = {field.name: arrays[f"option_{field.name}"].item() for field in fields(TreeOptions)}
        model = GradientBoostedTrees(rng=np.random.default_rng(0), **options)
        model.base, model.width = float(arrays["base"]), int(arrays["width"])
        parts = {field.name: arrays[f"forest_{field.name}"] for field in fields(Forest)}
        model.forest = Forest(**{**parts, "depth": int(parts["depth"])})  # type: ignore[arg-type]
        return model


def _checked(
    X: np.ndarray, y: np.ndarray, program: np.ndarray | None, weights: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The arguments of `fit` in their types, or a ValueError."""
    X, y = np.asarray(X, np.float32), np.asarray(y, np.float64)
    if X.ndim != 2 or y.ndim != 1 or not len(X) or not len(y):
        raise ValueError(f"X must be [rows, columns] and y [programs], neither empty, got {X.shape} and {y.shape}")
    program = np.arange(len(X)) if program is None else np.asarray(program)
    if program.shape != (len(X),) or program.dtype.kind not in "iu":
        raise ValueError(f"program must be {len(X)} integers, one per row, got {program.dtype} {program.shape}")
    if (np.diff(program) < 0).any() or program[0] < 0 or program[-1] >= len(y):
        raise ValueError(f"program must ascend from 0 and stay below the {len(y)} programs of y")
    weights = np.ones(len(y)) if weights is None else np.asarray(weights, np.float64)
    if weights.shape != y.shape or not (weights >= 0).all():
        raise ValueError(f"weights must be {len(y)} numbers, none negative, got {weights.shape}")
    for name, values in (("X", X), ("y", y), ("weights", weights)):
        if not np.isfinite(values).all():
            raise ValueError(f"{name} must be finite, got {np.count_nonzero(~np.isfinite(values))} that are not")
    return X, y, program.astype(np.int64), weights
