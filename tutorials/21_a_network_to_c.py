"""A network from an ONNX file to a C program
==========================================

After this you can take a model as a training framework exports it, see the graph and the kernels that it becomes, tune
them, call the result like a function, and hand it on as a few C files that need nothing of this project.

Papers: Ansor §3, §6; TASO §5. Time: about two minutes on a laptop, most of it tuning (MINI_TUTORIAL_SECONDS sets
another budget). Needs a C compiler, and the package onnx. Read before: 01_quickstart, 15_search_and_layouts.
"""

# %% [markdown]
# ## 1. A model arrives
# We have no training framework here, so we write the file ourselves: a small classifier of 32 x 32 images with a
# residual block, its convolutions and activations apart, as exporters leave them.

# %%
import os
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from runtime.graph import Graph
from runtime.onnx_export import export_onnx
from taso_mini.models.layers import Layers


def classifier() -> Graph:
    """Three convolutions, two of them a residual block; a pool; ten classes."""
    layers = Layers("classifier", np.random.default_rng(0))
    x = layers.bias(layers.conv(layers.input("image", (1, 3, 32, 32)), "stem", 32, 3, stride=2, relu=False), "stem")
    x = layers.add("relu", x, name="stem_relu")
    y = layers.add("relu", layers.bias(layers.conv(x, "left", 32, 3, relu=False), "left"), name="left_relu")
    y = layers.bias(layers.conv(y, "right", 32, 3, relu=False, gain=0.25), "right")
    x = layers.add("relu", layers.add("add", x, y, name="sum"), name="block")
    x = layers.add("reduce_mean", x, name="pool", axes=(2, 3), keepdims=False)
    x = layers.bias(layers.dense(x, "classes", 10), "classes", axis=-1)
    return layers.finish(layers.add("softmax", x, name="probabilities", axis=1))


folder = tempfile.TemporaryDirectory(prefix="tutorial-")
work = Path(folder.name)
export_onnx(classifier(), work / "classifier.onnx")
print(f"{(work / 'classifier.onnx').stat().st_size} bytes of ONNX")

# %% [markdown]
# ## 2. It becomes a graph
# Every operator has a shape rule and a NumPy reference, so the graph can be evaluated as it stands. That is the answer
# which everything below has to give.

# %%
from runtime.onnx_import import import_onnx

graph = import_onnx(work / "classifier.onnx").fold_constants()
print(graph)
image = np.random.default_rng(1).standard_normal((1, 3, 32, 32)).astype(np.float32)
expected = graph.evaluate({"image": image})["probabilities"]
assert expected.shape == (1, 10) and abs(expected.sum() - 1) < 1e-5

# %% [markdown]
# ## 3. The graph becomes kernels
# First the layout: with the channels last, neighbours in memory are neighbours in a vector register. Then operators
# that can share registers are fused: a convolution keeps its bias, its activation and the addition of its block. Each
# kernel that occurs is a task; equal ones are tuned once.

# %%
from ansor_mini.partition import partition, task_weights
from runtime.layout import to_channels_last

parts = partition(to_channels_last(graph))
for part in parts:
    print(f"{part.kind:9}", " + ".join(node.operator for node in part.nodes))
fused = ["+".join(node.operator for node in part.nodes) for part in parts]
assert "conv+add+add+relu" in fused, "the second convolution of the block takes in bias, addition and activation"
assert len(task_weights(parts)) <= len(parts)

# %% [markdown]
# ## 4. Kernels become fast
# `compile` does all of it: it searches for a cheaper equal graph, partitions, tunes each kernel by running candidates,
# packs the weights as the kernels read them, plans the memory, and checks the result against NumPy.

# %%
from taso_mini import compile

seconds = float(os.environ.get("MINI_TUTORIAL_SECONDS", "60"))
stages: list[str] = []
model = compile(work / "classifier.onnx", budget_seconds=seconds, threads=1, cost="flops", log=stages.append)
print("\n".join(stages))
probabilities = model(image)
assert np.abs(probabilities - expected).max() < 1e-4
print(f"{model}: {model.time() * 1e6:.0f} us")

# %% [markdown]
# Between two layers a value lives only until its last reader, so memory is used again and again. The plan says how much
# that saves, and how much no plan could save.

# %%
from ansor_mini.network import default_network
from runtime.machine import detect
from runtime.memory_plan import plan

memory = plan(default_network(to_channels_last(graph), detect(), threads=1))
print(memory)
assert memory.live_lower_bound <= memory.total_bytes < memory.sum_bytes

# %% [markdown]
# A wrong array is one sentence, never a wrong answer.

# %%
try:
    model(image[:, :2])
except ValueError as error:
    print(error)
else:
    raise AssertionError("two channels are not three")
assert np.array_equal(model(np.asfortranarray(image)), probabilities), "an array in another order is copied"

# %% [markdown]
# ## 5. It leaves as C
# One file holds the kernels and the function that calls them; the weights are a file of their own. There are no global
# variables: whoever calls passes the workspace in.

# %%
from runtime.compile_c import find_compiler

model.emit_c(work / "c")
print(*sorted(path.name for path in (work / "c").iterdir()))
header = (work / "c" / "model.h").read_text()
print(header[header.index("int classifier") :])

compiler = find_compiler()
flags = ["-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math"]
sources = ["main.c", "model.c", "weights.c"]
line = [*compiler.command, *flags, *sources, "-lm", "-o", "classifier"]
print(" ".join(line))
subprocess.run(line, cwd=work / "c", check=True)
image.tofile(work / "c" / "image.bin")
run = [str(work / "c" / "classifier"), "image.bin", "out.bin"]
subprocess.run(run, cwd=work / "c", check=True, stdout=subprocess.DEVNULL)
assert np.array_equal(np.fromfile(work / "c" / "out.bin", np.float32), probabilities[0]), "the same bits"

# %% [markdown]
# ## Questions
# 1. Which operators did the partition leave alone, and could one of them have joined a neighbour?
# 2. `model.save(folder)` and `taso_mini.load(folder)` keep the result. What of it would another processor not run?
# 3. Tune once more with ten times the budget. Which kernel gained, and what did the network gain?

# %%
folder.cleanup()
assert not work.exists()
