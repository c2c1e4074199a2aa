"""Ways to fit a cost model to the same rows: our trees and xgboost's, as the precise model, by default, and others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ansor_mini.boosted_trees import GradientBoostedTrees, TreeOptions
from ansor_mini.learned_model import PRECISE, label_weights

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


@dataclass(frozen=True)
class Way:
    """A way to fit: how, to which labels, on which features."""

    fit: Fit
    labels: str = "rank"
    features: str = "paper"


def precise(fit: Callable[..., Predict]) -> Way:
    """With the settings of the model that orders programs best."""
    trees = {name: PRECISE[name] for name in ("trees", "shrinkage", "gamma")}
    return Way(partial(fit, weigh=PRECISE["weights"], **trees), PRECISE["labels"], PRECISE["features"])


def ways(xgboost: bool) -> dict[str, Way]:
    """All rows of the table, by name."""
    found = {
        "ours": precise(fit_ours),
        "ours, by default": Way(fit_ours),
        "ours, paper's labels": Way(fit_ours, labels="throughput"),
        "ours, registers": Way(fit_ours, features="registers"),
    }
    if xgboost:
        found |= {"xgboost": precise(fit_xgboost), "xgboost, by default": Way(fit_xgboost)}
    return found
