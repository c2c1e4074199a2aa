"""The 164 features of a statement, by position and by name.

Paper: Ansor App. B

57 describe the computation and its loops, 5 x 18 the five most accessed buffers, 10 the arithmetic intensity, 4 the
buffer's allocation and 3 what is around. `features` defines each. Sixteen more, not the paper's, say what is kept
in registers and what stays a loop (`register_features`).
"""

from __future__ import annotations

OPERATIONS = (
    "float_mad", "float_addsub", "float_mul", "float_divmod", "float_cmp", "float_mathfunc", "float_otherfunc",
    "int_mad", "int_addsub", "int_mul", "int_divmod", "int_cmp", "int_mathfunc", "int_otherfunc",
    "bool_op", "select_op",
)  # fmt: skip
POSITIONS = (
    "none", "inner_spatial", "middle_spatial", "outer_spatial", "inner_reduce", "middle_reduce", "outer_reduce", "mixed"
)  # fmt: skip
GPU = ("is_gpu", "blockIdx_x", "blockIdx_y", "blockIdx_z", "threadIdx_x", "threadIdx_y", "threadIdx_z", "vthread")
ACCESS = (
    "is_read", "is_write", "is_read_write", "bytes", "unique_bytes", "lines", "unique_lines",
    "loop_reuse", "serial_reuse", "no_reuse", "reuse_distance_iterations", "reuse_distance_bytes", "reuse_count",
    "bytes_per_reuse", "unique_bytes_per_reuse", "lines_per_reuse", "unique_lines_per_reuse", "stride",
)  # fmt: skip
ALLOCATION = ("alloc_size", "alloc_prod", "alloc_outer_prod", "alloc_inner_prod")
OUTER = ("outer_prod", "num_loops", "auto_unroll_max_step")
ANNOTATIONS = ("vec", "unroll", "parallel")
SLOTS, SAMPLES = 5, 10


def _names() -> list[str]:
    names = list(OPERATIONS)
    for kind in ANNOTATIONS:
        names += [f"{kind}_num", f"{kind}_prod", f"{kind}_len", *(f"{kind}_type.{place}" for place in POSITIONS)]
    names += GPU
    for slot in range(SLOTS):
        names += [f"B{slot}.{name}" for name in ACCESS]
    names += [f"arith_intensity_curve_{sample}" for sample in range(SAMPLES)]
    return names + [*ALLOCATION, *OUTER]


FEATURE_NAMES = tuple(_names())
COUNT = len(FEATURE_NAMES)
POSITION = {name: position for position, name in enumerate(FEATURE_NAMES)}

LOOPS = {kind: POSITION[f"{kind}_num"] for kind in ANNOTATIONS}
FIRST_GPU = POSITION["is_gpu"]
FIRST_SLOT = POSITION["B0.is_read"]
FIRST_SAMPLE = POSITION["arith_intensity_curve_0"]
FIRST_ALLOCATION = POSITION["alloc_size"]
FIRST_OUTER = POSITION["outer_prod"]

_ONE_HOT = ("_type.", "is_gpu", ".is_", "_reuse")
# Ones and zeros stay as they are; every number x becomes log2(x + 1).
NUMERIC = tuple(not any(part in name for part in _ONE_HOT) or name.endswith("_per_reuse") for name in FEATURE_NAMES)

# Beyond the paper: columns 164 and up.
REGISTERS = (
    "tile_vectors", "tile_depth", "tile_loads", "tile_reuse", "inner_vectors", "inner_loads", "inner_depth",
    "innermost_length", "unrolled_spatial", "unrolled_reduce",
    "rolled_length", "rolled_step", "rolled_near", "rolled_far", "rolled_fixed", "rolled_body",
)  # fmt: skip
ALL_NAMES = FEATURE_NAMES + REGISTERS
ALL_NUMERIC = NUMERIC + (True,) * len(REGISTERS)
FEATURE_SETS = {"paper": FEATURE_NAMES, "registers": ALL_NAMES}
