"""Features and arithmetic intensity: what a cost model sees
=========================================================

After this you can read the 164 numbers that describe a statement, compute three of them by hand, and predict from the
arithmetic intensity of a loop nest where it will be fast.

Papers: Ansor §5.2 (Appendix B). Time: about one minute on a laptop. Needs a C compiler for the fourth section.
Read before: 02_loop_nests.
"""

# %% [markdown]
# ## 1. The anchor
# A 512³ matrix product: i in 32 parallel tiles of 16, j in 64 tiles of 8, which are vectors, k unrolled.

# %%
import numpy as np

from ansor_mini.feature_arrays import population_features
from ansor_mini.feature_names import POSITION
from ansor_mini.features import FEATURE_NAMES, features, raw_features
from ansor_mini.local_measurer import LocalMeasurer
from ansor_mini.lowering import lower
from ansor_mini.population_annotation import sample_population
from ansor_mini.schedule import replay
from ansor_mini.sketch import derive
from ansor_mini.steps import Parallel, Reorder, Split, Unroll, Vectorize
from ansor_mini.workloads import parse_workload
from runtime.machine import detect

machine = detect()
dag = parse_workload("matmul:512,512,512")
state = replay(
    dag,
    [
        Split("C", "i", (16,)),
        Split("C", "j", (8,)),
        Reorder("C", ("i.0", "j.0", "k", "i.1", "j.1")),
        Parallel("C", "i.0"),
        Unroll("C", "k"),
        Vectorize("C", "j.1"),
    ],
)
print(state)
(row,) = raw_features(state)
assert row.shape == (164,) and len(FEATURE_NAMES) == 164

# %% [markdown]
# Everything that is not zero, by name:

# %%
for name, value in zip(FEATURE_NAMES, row):
    if value:
        print(f"{name:>34} {value:16,.1f}")

# %% [markdown]
# ## 2. By hand
# - How often is the multiply-add done? Once for every (i, j, k): 512³ times.
# - How many bytes of B are touched in all? The whole matrix.
# - The reuse of C: the innermost loop that does not move C[i, j] is k. Between two touches of one element of C lie the
#   16 · 8 iterations inside k; in them 16 · 8 elements of C, 16 of A and 8 of B are touched.

# %%
slots = {}
for slot in range(5):
    size = row[POSITION[f"B{slot}.unique_bytes"]]
    written = row[POSITION[f"B{slot}.is_read_write"]]
    if size:
        slots["C" if written else f"input in slot {slot}"] = slot
print(slots)
c = slots["C"]
assert row[POSITION["float_mad"]] == 512**3
assert row[POSITION[f"B{c}.reuse_count"]] == 512
assert row[POSITION[f"B{c}.reuse_distance_iterations"]] == 16 * 8
assert row[POSITION[f"B{c}.reuse_distance_bytes"]] == 4 * (16 * 8 + 16 + 8)
assert np.isclose(features(state)[0, POSITION[f"B{c}.reuse_count"]], np.log2(512 + 1))

# %% [markdown]
# The model gets log2(x + 1) of each number, since 1 to 2 matters as much as 1000 to 2000.
#
# ## 3. Arithmetic intensity
# Operations per byte touched, at ten levels of the nest, from the innermost out. A good nest does much with little
# data early: that is the tile that lives in registers and in the first cache.


# %%
def tiled(rows: int, columns: int) -> list:
    """Tiles of C with the whole sum around them."""
    return [
        Split("C", "i", (rows,)),
        Split("C", "j", (columns,)),
        Reorder("C", ("i.0", "j.0", "k", "i.1", "j.1")),
        Vectorize("C", "j.1"),
    ]


lanes = machine.lanes
TILES = {"1 x 1": (1, lanes), "2 x 1": (2, lanes), "4 x 2": (4, 2 * lanes), "8 x 2": (8, 2 * lanes)}
curves = {}
for name, (rows, columns) in TILES.items():
    (row,) = raw_features(replay(dag, tiled(rows, columns)))
    curves[name] = [row[POSITION[f"arith_intensity_curve_{i}"]] for i in range(10)]
    bar = "".join(" .:-=+*#%@"[min(9, int(2 * np.log2(1 + value)))] for value in curves[name])
    print(f"{name} vectors: |{bar}| " + " ".join(f"{value:7.2f}" for value in curves[name]))
assert curves["8 x 2"][3] > curves["1 x 1"][3]

# %% [markdown]
# ## 4. Does it predict anything?
# The intensity of the innermost levels against the measured speed:

# %%
rng = np.random.default_rng(0)
with LocalMeasurer(dag, rng=rng) as measurer:
    nests = [lower(replay(dag, tiled(*tile))) for tile in TILES.values()]
    results = measurer(nests, lambda number, result: None)
speeds = {}
for (name, curve), result in zip(curves.items(), results):
    assert result.ok, result
    speeds[name] = dag.flops / result.cost / 1e9
    print(f"{name} vectors: intensity {curve[3]:6.2f}, {speeds[name]:6.1f} GFLOP/s " + "#" * round(speeds[name] / 3))
assert speeds["8 x 2"] > speeds["1 x 1"]

# %% [markdown]
# ## 5. Thousands at once
# The structure of a sketch is fixed, only extents differ. So the same code that lowers one program with integers lowers
# a whole population with arrays of extents, and every feature is an array operation.

# %%
import time

sketch = derive(dag, machine=machine)[1]
population = sample_population(sketch, 1000, rng, machine)
start = time.perf_counter()
batch = population_features(population, machine)
together = time.perf_counter() - start
start = time.perf_counter()
alone = [features(population.program(i), machine) for i in range(20)]
one_by_one = (time.perf_counter() - start) / 20
print(f"{batch.values.shape} (statements, features, programs) in {1e3 * together:.1f} ms together")
print(f"{1e6 * together / 1000:.1f} us per program, {1e6 * one_by_one:.0f} us when alone")
for i, found in enumerate(alone):
    assert np.allclose(batch.values[batch.present[:, i], :, i], found, rtol=1e-5, atol=1e-5)

# %% [markdown]
# Question: which features are equal for all programs of this sketch, and are they useless?
