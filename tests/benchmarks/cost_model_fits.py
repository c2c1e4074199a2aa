"""Ways to fit a cost model to the same rows: our trees and xgboost's, with the paper's choices or with better ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ansor_mini.boosted_trees import GradientBoostedTrees, TreeOptions
from ansor_mini.guided_model import raised_weights
from ansor_mini.learned_model import label_weights

Predict = Callable[[np.ndarray], np.ndarray]
Fit = Callable[[np.ndarray, np.ndarray, np.ndarray], Predict]
Weigh = Callable[[np.ndarray], np.ndarray]


def fit_ours(
    X: np.ndarray, labels: np.ndarray, program: np.ndarray, *, weigh: Weigh = label_weights, **options: Any
) -> Predict:
    """Fit the trees of this project, by default with their default settings."""
    return GradientBoostedTrees(**options).fit(X, labels, program=program, weights=weigh(labels)).predict


def fit_xgboost(
    X: np.ndarray, labels: np.ndarray, program: np.ndarray, *, weigh: Weigh = label_weights, **options: Any
) -> Predict:
    """Fit xgboost with the same settings and the same loss, on one thread."""
    import xgboost

    chosen = TreeOptions(**options)
    weights, rows = weigh(labels), np.bincount(program)
    base = float((weights * rows) @ labels / ((weights * rows) @ rows))
    settings = {
        "tree_method": "hist",
        "nthread": 1,
        "max_depth": chosen.depth,
        "max_bin": chosen.bins,
        "eta": chosen.shrinkage,
        "gamma": chosen.gamma,
        "lambda": chosen.l2,
        "min_child_weight": chosen.min_child_weight,
        "base_score": base,
    }
    hessian = weights[program]

    def loss(predicted: np.ndarray, _: Any) -> tuple[np.ndarray, np.ndarray]:
        score = np.bincount(program, weights=predicted, minlength=len(labels))
        return (weights * (score - labels))[program], hessian

    matrix = xgboost.DMatrix(X, label=hessian, nthread=1)
    booster = xgboost.train(settings, matrix, chosen.trees, obj=loss)
    return lambda rows: booster.inplace_predict(rows)  # faster than predict, which copies into a matrix first


# Found by cross-validation within the training part of the random programs' first fold.
BEYOND: dict[str, Any] = {"weigh": raised_weights, "trees": 200, "shrinkage": 0.1, "gamma": 1e-4}


@dataclass(frozen=True)
class Way:
    """A way to fit: how, to which labels, on which features."""

    fit: Fit
    labels: str = "rank"
    features: str = "paper"


def variants(xgboost: bool) -> dict[str, Way]:
    """What a table compares besides the defaults of both libraries."""
    ways = {
        "ours, paper's labels": Way(fit_ours, labels="throughput"),
        "ours, registers": Way(fit_ours, features="registers"),
        "ours, beyond": Way(partial(fit_ours, **BEYOND), labels="blended", features="registers"),
    }
    if xgboost:
        ways["xgboost, beyond"] = Way(partial(fit_xgboost, **BEYOND), labels="blended", features="registers")
    return ways
