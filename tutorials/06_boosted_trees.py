"""Boosted trees from scratch: the cost model's engine
===================================================

After this you can grow a regression tree by hand, say why its gain has the form it has, and train a model that is only
ever told the sum of what it predicts, as Ansor's cost model is.

Papers: Ansor §5.2. Time: under one minute on a laptop. Read before: nothing; 05_features for where rows come from.
"""

# %% [markdown]
# ## 1. One test
# A tree asks "is column c above t?" and gives each side a number. For squared error, a side with gradient sum G and
# hessian sum H should get -G / H; a test then lowers the loss by half its gain. `l2` shrinks small sides.

# %%
import numpy as np

from ansor_mini.boosted_trees import GradientBoostedTrees

rng = np.random.default_rng(0)
X = rng.integers(0, 10, (300, 2)).astype(np.float32)
y = np.where(X[:, 0] > 5, 3.0, 0.0) + np.where(X[:, 1] > 2, 1.0, 0.0)


def gain(left: np.ndarray, gradient: np.ndarray, l2: float = 1.0) -> float:
    """What a test gains, with hessian 1 for every row; `left` says which rows go left."""

    def worth(side: np.ndarray) -> float:
        return gradient[side].sum() ** 2 / (side.sum() + l2)

    return worth(left) + worth(~left) - worth(np.ones(len(left), bool))


base = y.mean()
gradient = base - y  # of (prediction - y)² / 2, where the prediction is the mean so far
gains = {(c, t): gain(X[:, c] <= t, gradient) for c in range(2) for t in np.arange(9) + 0.5}
(column, threshold), largest = max(gains.items(), key=lambda item: item[1])
for c in range(2):
    print(f"column {c}: " + " ".join(f"{gains[c, t]:6.1f}" for t in np.arange(9) + 0.5))
print(f"best: column {column} > {threshold}, gain {largest:.1f}")
assert (column, threshold) == (0, 5.5)

# %% [markdown]
# The library's first tree of depth one is the same.

# %%
stump = GradientBoostedTrees(trees=1, depth=1, shrinkage=1.0).fit(X, y)
assert stump.forest.column[0] == column and np.isclose(stump.forest.gain[0], largest, rtol=1e-3)
above = X[:, 0] > 5
left, right = (gradient[side].sum() / (side.sum() + 1) for side in (~above, above))
by_hand = base - np.where(above, right, left)
assert np.allclose(stump.predict(X), by_hand, atol=1e-3)

# %% [markdown]
# ## 2. Boosting
# The next tree is fitted to what is still wrong, and only a share of its correction is applied. Here 20 stumps by hand:

# %%
prediction = np.full(len(y), base)
for number in range(20):
    gradient = prediction - y
    gains = {(c, t): gain(X[:, c] <= t, gradient) for c in range(2) for t in np.arange(9) + 0.5}
    column, threshold = max(gains, key=lambda key: gains[key])
    for side in (X[:, column] <= threshold, X[:, column] > threshold):
        prediction[side] -= 0.5 * gradient[side].sum() / (side.sum() + 1)
    if number % 4 == 0 or number == 19:
        error = np.sqrt(np.mean((prediction - y) ** 2))
        print(f"{number + 1:3} stumps, error {error:6.4f} " + "#" * round(40 * error))
library = GradientBoostedTrees(trees=20, depth=1, shrinkage=0.5, gamma=0.0).fit(X, y).predict(X)
assert np.allclose(library, prediction, atol=0.02)

# %% [markdown]
# ## 3. Told only the sum
# A program has several statements, and what is measured is the time of all together. So the score of a program is the
# *sum* of its rows' predictions, and each row gets the gradient of the sum. Here every row hides a number of its own;
# the model only sees totals of one to four rows.

# %%
programs = 1500
counts = rng.integers(1, 5, programs)
program = np.repeat(np.arange(programs), counts)
rows = rng.integers(0, 8, (len(program), 3)).astype(np.float32)
hidden = rows[:, 0] * 0.2 + np.where(rows[:, 1] > rows[:, 2], 1.0, 0.0)
totals = np.bincount(program, weights=hidden)
known = program < 1200
model = GradientBoostedTrees(trees=200).fit(rows[known], totals[:1200], program=program[known])

found = model.predict(rows[~known])
print(f"a new row's own number: correlation {np.corrcoef(found, hidden[~known])[0, 1]:.3f}")
score = np.bincount(program[~known] - 1200, weights=found)
print(f"a new program's total:  correlation {np.corrcoef(score, totals[1200:])[0, 1]:.3f}")
assert np.corrcoef(found, hidden[~known])[0, 1] > 0.9

# %% [markdown]
# It learned what each row is worth although nobody ever said so.
#
# ## 4. Weights: the fast ones matter
# A search needs the order of the fast programs. The paper's weight is the label itself (best time / time). Noise in the
# slow ones then does little harm.


# %%
def pairwise(score: np.ndarray, truth: np.ndarray) -> float:
    """The share of pairs that are in the right order; one half is guessing."""
    first, second = np.triu_indices(len(truth), 1)
    different = truth[first] != truth[second]
    right = (score[first] > score[second]) == (truth[first] > truth[second])
    return float(right[different].mean())


features = rng.random((2000, 6)).astype(np.float32)
speed = np.exp(-3 * (np.abs(features[:, 0] - 0.5) + features[:, 1] * features[:, 2]))
labels = speed / speed.max()
noisy = np.where(labels < 0.3, rng.permutation(labels), labels)  # measured badly where slow
fast = np.argsort(-labels[1500:])[:100]
for name, weights in (("equal weights", None), ("label as weight", noisy[:1500])):
    model = GradientBoostedTrees(trees=100).fit(features[:1500], noisy[:1500], weights=weights)
    order = pairwise(model.predict(features[1500:])[fast], labels[1500:][fast])
    print(f"{name:>16}: {100 * order:.1f} % of the pairs among the fastest 100 in order")
assert order > 0.7

# %% [markdown]
# ## 5. What it looked at
# The gain of all tests on a column, as a share. Columns 3 to 5 were never used to make the labels.

# %%
for c, share in enumerate(model.importance()):
    print(f"column {c} {share:6.3f} " + "#" * round(60 * share))
assert model.importance()[:3].sum() > 0.7

# %% [markdown]
# Question: `GradientBoostedTrees(splitter="plain")` grows the same trees slowly and readably. Where do the sums become
# exact integers, and why is that needed for "the same"?
