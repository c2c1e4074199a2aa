"""Tensor Cores as one more sketch rule
====================================

After this you can read what one lane of a warp holds during `mma.sync`, write a loop nest that stands for Tensor Core
instructions, run the emitted kernel on your CPU, and say what a sketch rule must know to use a special instruction,
which the paper names as a limitation of its search.

Papers: Ansor §4.1, §9. Time: about one minute on a laptop. Needs a C++ compiler, no GPU. Read before: 10_your_own_rule,
18_gpu_threads.
"""

# %% [markdown]
# ## 1. One instruction, 32 threads
# `mma.sync.m16n8k16` multiplies a 16 × 16 tile of A with a 16 × 8 tile of B and adds to a 16 × 8 tile of C. No thread
# holds a tile: its elements are dealt out over the 32 lanes of a warp. With g = lane / 4 and t = lane % 4, a lane holds
# of C rows g and g + 8, columns 2t and 2t + 1. Which lane holds which row and column:

# %%
import numpy as np

owner = np.full((16, 8), -1)
for lane in range(32):
    g, t = lane // 4, lane % 4
    for row in (g, g + 8):
        for column in (2 * t, 2 * t + 1):
            owner[row, column] = lane
print("\n".join(" ".join(f"{lane:3}" for lane in row) for row in owner))
assert owner.min() == 0 and np.all(np.bincount(owner.ravel()) == 4)  # every lane holds four elements

# %% [markdown]
# **Question.** Lane 5 of A holds, in four registers, rows 1 and 9 at columns 2, 3 and 10, 11. How many different lanes
# must hand something over for one element of C? (A row of A lies in four lanes, a column of B in four others.)
#
# ## 2. The same as a loop nest
# The IR has no instruction for this, and needs none: three loops of kind `tensor` *are* a 16 × 16 × 16 product, over
# buffers of scope `fragment`. A `warp` loop runs on warps as a `thread` loop runs on threads. All of them still mean a
# serial loop, so the interpreter stays the judge. The tile arrives in fragments through shared memory.

# %%
from runtime.cuda_text.tensor_operations import operation, outermost_tensor_loops
from runtime.interpreter import interpret
from runtime.loop_nest_text import parse

nest = parse("""def tile(A: float16[16, 16], B: float16[16, 16]) -> (C: float32[16, 16]):
    for block0 in block(1):
        with shared(float16[16, 16]) as As:
            with shared(float16[16, 16]) as Bs:
                for w in warp(1):
                    with fragment(float32[16, 16]) as c:
                        for i in tensor(16):
                            for j in tensor(16):
                                c[i, j] = 0.0
                        for t in thread(32):
                            for v in vectorize(8):
                                As[t // 2, t % 2 * 8 + v] = A[t // 2, t % 2 * 8 + v]
                        for t in thread(32):
                            for v in vectorize(8):
                                Bs[t // 2, t % 2 * 8 + v] = B[t // 2, t % 2 * 8 + v]
                        with fragment(float16[16, 16]) as a:
                            with fragment(float16[16, 16]) as b:
                                for i in tensor(16):
                                    for k in tensor(16):
                                        a[i, k] = As[i, k]
                                for k in tensor(16):
                                    for j in tensor(16):
                                        b[k, j] = Bs[k, j]
                                for i in tensor(16):
                                    for j in tensor(16):
                                        for k in tensor(16):
                                            c[i, j] = c[i, j] + cast(float32, a[i, k]) * cast(float32, b[k, j])
                        for i in tensor(16):
                            for j in tensor(16):
                                C[i, j] = c[i, j]
""")
kinds = [type(operation(loop)).__name__ for loop in outermost_tensor_loops(nest.body)]
print(kinds)
assert kinds == ["Fill", "LoadTile", "LoadTile", "Multiply", "StoreTile"]

rng = np.random.default_rng(0)
A, B = (rng.integers(-3, 4, (16, 16)).astype(np.float16) for _ in range(2))
expected = A.astype(np.float32) @ B.astype(np.float32)
assert np.array_equal(interpret(nest, A, B)[0], expected)

# %% [markdown]
# ## 3. What the emitter makes of it
# The two copies become `cp.async`, 16 bytes each, past the registers. Loads of fragments become `ldmatrix`, which deals
# a tile out to the lanes, the product two `mma.sync` of 16 × 8. Each is a call of a small function with two bodies, one
# line of PTX for nvcc and a loop over the table above for the CPU, where the kernel now runs under checks.

# %%
from runtime.cuda_on_cpu import run_on_cpu
from runtime.emit_cuda import emit_cuda

module = emit_cuda(nest)
kernel = module.text[module.text.index('extern "C" __global__') :]
print(kernel)
(got,), reports = run_on_cpu(module, [A, B])
assert np.array_equal(got, expected) and not reports
assert all(name in kernel for name in ("cp_async16", "ldmatrix_x4(", "ldmatrix_x4_trans(", "mma_float16("))

# %% [markdown]
# Look at the index of `As`: the 16-byte chunks of a row change places from row to row. `ldmatrix` reads eight rows at
# once, and shared memory has banks for 128 bytes. In 32-byte rows without the permutation, rows 0 and 4 would meet in
# the same banks. Here is where chunk 0 of each row lies, in units of 16 bytes modulo 128:

# %%
plain = [row * 2 % 8 for row in range(8)]
permuted = [(row * 2 + (0 ^ (row // 4 % 2))) % 8 for row in range(8)]
print("plain   ", plain, "\npermuted", permuted)
assert len(set(plain)) == 4 and len(set(permuted)) == 8

# %% [markdown]
# ## 4. One more rule
# A rule is a condition and an application. Ours asks what a stage computes: a sum over a product of two operands, one
# of which depends on axes that the other has not. Then those axes are rows and columns, whatever the stage is called. A
# convolution is such a product too: rows are its pixels, the inner dimension runs over taps and input channels, and the
# operand is gathered, padding included. That is all the rule has to know; one hole is left, the tiling.

# %%
from ansor_mini.gpu_rules.contraction import future_contraction
from ansor_mini.gpu_rules.rules import GPU_RULES
from ansor_mini.gpu_rules.tensorize import TENSORIZE, is_tensorized, tensor_programs
from ansor_mini.narrow_inputs import with_narrow_inputs
from ansor_mini.schedule import initial_state
from ansor_mini.sketch import derive
from ansor_mini.tensor_steps import TENSOR_TILINGS
from ansor_mini.workloads import parse_workload
from runtime.gpu import gpu

dag = with_narrow_inputs(parse_workload("ConvLayer:6,6,16,24,3,1,1"), "float16")
print(dag)
found = future_contraction(initial_state(dag), "conv")
assert found is not None
print("rows", [axis.name for axis in found.rows.outer], "columns", [axis.name for axis in found.columns.outer])
print("inner", [axis.name for axis in found.inner], "=", found.depth)
assert (found.rows.extent, found.columns.extent, found.depth) == (36, 24, 9 * 16)

sketches = derive(dag, (TENSORIZE, *GPU_RULES), gpu("h100"))
(sketch,) = [sketch for sketch in sketches if is_tensorized(sketch)]
print(sketch)
assert len(sketches) == len(derive(dag, GPU_RULES, gpu("h100"))) + 1  # nothing else changed

# %% [markdown]
# The batch norm and the ReLU of the layer have gone into the store: each lane applies them to the elements that it
# holds. 36 rows are no multiple of 16: the copies fill up with zeros, the store leaves out what is beyond.

# %%
from ansor_mini.local_measurer import case_of

case = case_of(dag, np.random.default_rng(0))
for program in list(tensor_programs(sketch))[-2:]:
    (value,) = program.annotation.values()
    assert isinstance(value, tuple)
    module = emit_cuda(program.lower())
    (output,), reports = run_on_cpu(module, case.inputs)
    (launch,) = module.launches
    print(
        TENSOR_TILINGS[value[0]], f"{launch.grid} blocks of {launch.block} threads, {launch.shared_bytes} bytes shared"
    )
    assert np.array_equal(output, case.expected[0]) and not reports

# %% [markdown]
# ## 5. Copies that run ahead, and a wait that is missing
# While the warps multiply, the copies for later steps are under way (`stages` in a tiling). What keeps that correct is
# one wait and one barrier in each step. Take the wait away and the checks find out: what was read had not arrived.

# %%
text = module.text
head, body = text[: text.index('extern "C" __global__')], text[text.index('extern "C" __global__') :]
wait = next(name for name in ("cp_async_wait_1();", "cp_async_wait_0();") if name in body)
broken = type(module)(head + body.replace(wait, ""), module.launches, module.inputs, module.outputs, module.workspace)
_, reports = run_on_cpu(broken, case.inputs)
print(reports[0])
assert reports

# %% [markdown]
# ## 6. What is rounded
# Products of float16 and bfloat16 numbers are exact in float32, so nothing is lost but what the inputs had lost before.
# float32 operands a Tensor Core rounds to tf32, ten bits of fraction. The rule does not do that unasked:
# `GPU_RULES_WITH_TF32` is the list that lets it.

# %%
from runtime.narrow_floats import from_bfloat16, to_bfloat16, to_tf32

x = np.float32([0.1])
rounded = {"float16": np.float16(x).astype(np.float32), "bfloat16": from_bfloat16(to_bfloat16(x)), "tf32": to_tf32(x)}
errors = {name: float(abs(value - x)[0]) for name, value in rounded.items()}
print(errors)
assert errors["tf32"] <= errors["float16"] < errors["bfloat16"]
assert not any(map(is_tensorized, derive(parse_workload("matmul:64,64,64"), (TENSORIZE, *GPU_RULES), gpu("h100"))))

# %% [markdown]
# **Question.** The rule has one hole for six sizes. What would be gained by six holes, and what must then be checked
# before a program is built? (See `fitting_tilings`, and the limits in `runtime.gpu`.)
