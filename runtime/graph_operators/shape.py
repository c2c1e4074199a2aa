"""Graph operators that only move elements: concat, split, transpose, reshape, pad, slice."""

from __future__ import annotations

import numpy as np

from runtime.graph_operators.base import (
    REQUIRED,
    Arrays,
    Operator,
    Types,
    expect,
    expect_tuple,
    no_flops,
    normal_axis,
    product,
    same_dtype,
)
from runtime.node import Params, TensorType

MANY = 1 << 16


def _infer_concat(types: Types, params: Params) -> tuple[TensorType, ...]:
    dtype, first = same_dtype(types), types[0].shape
    axis = normal_axis(params["axis"], len(first))
    for t in types[1:]:
        fits = t.rank == len(first) and all(d == axis or t.shape[d] == n for d, n in enumerate(first))
        expect(fits, f"shapes {first} and {t.shape} may differ in axis {axis} only")
    total = sum(t.shape[axis] for t in types)
    return (TensorType((*first[:axis], total, *first[axis + 1 :]), dtype),)


def _infer_split(types: Types, params: Params) -> tuple[TensorType, ...]:
    shape, sizes = types[0].shape, params["sizes"]
    axis = normal_axis(params["axis"], len(shape))
    fits = isinstance(sizes, tuple) and all(size >= 1 for size in sizes) and sum(sizes) == shape[axis]
    expect(fits, f"sizes: expected positive sizes that sum to {shape[axis]}, got {sizes!r}")
    return tuple(TensorType((*shape[:axis], size, *shape[axis + 1 :]), types[0].dtype) for size in sizes)


def _evaluate_split(arrays: Arrays, params: Params) -> tuple[np.ndarray, ...]:
    ends = np.cumsum(params["sizes"])[:-1]
    return tuple(np.ascontiguousarray(part) for part in np.split(arrays[0], ends, axis=params["axis"]))


def _infer_transpose(types: Types, params: Params) -> tuple[TensorType, ...]:
    shape, perm = types[0].shape, params["perm"]
    fits = isinstance(perm, tuple) and sorted(perm) == list(range(len(shape)))
    expect(fits, f"perm: expected a permutation of 0 .. {len(shape) - 1}, got {perm!r}")
    return (TensorType(tuple(shape[d] for d in perm), types[0].dtype),)


def _infer_reshape(types: Types, params: Params) -> tuple[TensorType, ...]:
    shape = params["shape"]
    expect(isinstance(shape, tuple), f"shape: expected a tuple of extents, got {shape!r}")
    fits = all(n >= 1 for n in shape) and product(shape) == types[0].size
    expect(fits, f"shape: {shape} does not hold the {types[0].size} elements of {types[0].shape}")
    return (TensorType(shape, types[0].dtype),)


def _infer_pad(types: Types, params: Params) -> tuple[TensorType, ...]:
    shape, pads = types[0].shape, params["pads"]
    expect_tuple("pads", pads, 2 * len(shape), 0)
    ends = pads[len(shape) :]
    return (TensorType(tuple(a + n + b for a, n, b in zip(pads, shape, ends, strict=False)), types[0].dtype),)


def _evaluate_pad(arrays: Arrays, params: Params) -> tuple[np.ndarray, ...]:
    x, pads = arrays[0], params["pads"]
    return (np.pad(x, list(zip(pads[: x.ndim], pads[x.ndim :], strict=True)), constant_values=params["value"]),)


def _infer_slice(types: Types, params: Params) -> tuple[TensorType, ...]:
    shape = types[0].shape
    for name, least in (("starts", 0), ("stops", 1), ("steps", 1)):
        expect_tuple(name, params[name], len(shape), least)
    extents = []
    for d, (start, stop, step) in enumerate(zip(params["starts"], params["stops"], params["steps"], strict=True)):
        expect(start < stop <= shape[d], f"[{start}:{stop}] is empty or outside dimension {d} of {shape}")
        extents.append((stop - start + step - 1) // step)
    return (TensorType(tuple(extents), types[0].dtype),)


def _evaluate_slice(arrays: Arrays, params: Params) -> tuple[np.ndarray, ...]:
    cut = tuple(map(slice, params["starts"], params["stops"], params["steps"]))
    return (np.ascontiguousarray(arrays[0][cut]),)


SHAPE = (
    Operator(
        "concat",
        "Join along an axis.",
        (1, MANY),
        {"axis": REQUIRED},
        _infer_concat,
        lambda arrays, params: (np.concatenate(arrays, axis=params["axis"]),),
        no_flops,
    ),
    Operator(
        "split",
        "Cut along an axis into pieces of the given sizes, one output each.",
        (1, 1),
        {"axis": REQUIRED, "sizes": REQUIRED},
        _infer_split,
        _evaluate_split,
        no_flops,
    ),
    Operator(
        "transpose",
        "Reorder dimensions: output dimension d is input dimension perm[d].",
        (1, 1),
        {"perm": REQUIRED},
        _infer_transpose,
        lambda arrays, params: (np.ascontiguousarray(arrays[0].transpose(params["perm"])),),
        no_flops,
    ),
    Operator(
        "reshape",
        "The same elements in row-major order under another shape.",
        (1, 1),
        {"shape": REQUIRED},
        _infer_reshape,
        lambda arrays, params: (arrays[0].reshape(params["shape"]),),
        no_flops,
    ),
    Operator(
        "pad",
        "Surround with `value`: pads lists the low sides of all dimensions, then the high sides.",
        (1, 1),
        {"pads": REQUIRED, "value": 0.0},
        _infer_pad,
        _evaluate_pad,
        no_flops,
    ),
    Operator(
        "slice",
        "x[starts:stops:steps], one of each for every dimension, steps positive.",
        (1, 1),
        {"starts": REQUIRED, "stops": REQUIRED, "steps": REQUIRED},
        _infer_slice,
        _evaluate_slice,
        no_flops,
    ),
)
