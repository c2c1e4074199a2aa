"""Compiled networks as functions: arrays of any library in and out, eight threads at once, copies that live on."""

from __future__ import annotations

import array
import gc
import json
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.array_arguments import as_array
from runtime.compile_c import aligned_empty
from runtime.compiled_network import CompiledNetwork
from runtime.executor import build
from runtime.graph import TensorType
from runtime.network import KernelCall, Network
from tests.strategies.networks import elementwise, two_outputs

pytestmark = pytest.mark.cc
SHAPE = (6, 50)
KIND = TensorType(SHAPE)


def integers(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-9, 10, SHAPE).astype(np.float32)


def at_boundary(values: np.ndarray, offset: int = 0) -> np.ndarray:
    """A copy that starts `offset` elements after a 64-byte boundary."""
    place = aligned_empty((values.size + offset,), str(values.dtype))[offset:].reshape(values.shape)
    place[...] = values
    return place


def through_memory() -> Network:
    """y = 2 ((2 x + 1) + 1) - … : a few kernels in a row that pass values through the workspace."""
    calls = [KernelCall(elementwise("one", SHAPE, 1, 1, True), ("x",), ("v0",))]
    for number in range(6):
        operands = (f"v{number}", "x")
        target = f"v{number + 1}" if number < 5 else "y"
        calls.append(KernelCall(elementwise("more", SHAPE, 2, 0, True), operands, (target,)))
    values = {f"v{number}": KIND for number in range(6)} | {"y": KIND}
    return Network("chain", {"x": KIND}, {"y": KIND}, {}, values, tuple(calls))


def chain_of(x: np.ndarray) -> np.ndarray:
    value = x + 1 - 1
    for _ in range(6):
        value = value + 2 * x - 1
    return value


@pytest.fixture(scope="module")
def chain() -> CompiledNetwork:
    return build(through_memory(), threads=2)


@pytest.fixture(scope="module")
def pair() -> CompiledNetwork:
    """Two inputs a and b; the double and the negation of a + 2 b."""
    calls = (
        KernelCall(elementwise("sum", SHAPE, 2, 0, False), ("a", "b"), ("h",)),
        KernelCall(two_outputs("two", SHAPE), ("h",), ("double", "minus")),
    )
    values = {name: KIND for name in ("h", "double", "minus")}
    return build(Network("pair", {"a": KIND, "b": KIND}, {"double": KIND, "minus": KIND}, {}, values, calls))


# Calls


def test_a_call_takes_inputs_by_position_and_by_name(pair: CompiledNetwork) -> None:
    a, b = integers(1), integers(2)
    for double, minus in (pair(a, b), pair(a, b=b), pair(b=b, a=a)):
        assert (double == 2 * (a + 2 * b)).all() and (minus == -(a + 2 * b)).all()
    with pytest.raises(TypeError, match="2 inputs"):
        pair(a, b, a)
    with pytest.raises(TypeError, match="'a' is given by position and by name"):
        pair(a, a=a)
    with pytest.raises(ValueError, match="needs input 'b'"):
        pair(a)
    assert repr(pair).startswith("<CompiledNetwork pair(a: float32[6, 50], b: float32[6, 50]) -> double: ")


def test_one_output_is_an_array_of_its_own(chain: CompiledNetwork) -> None:
    x = integers()
    first, second = chain(x), chain(x)
    assert (first == chain_of(x)).all() and not np.shares_memory(first, second)
    first[...] = 0
    assert (second == chain_of(x)).all()


@settings(max_examples=15)
@given(st.data())
def test_inputs_in_any_memory_give_the_same_result(chain: CompiledNetwork, data: st.DataObject) -> None:
    """Any strides, any alignment of elements, read-only or not."""
    x = integers(data.draw(st.integers(0, 9)))
    steps = data.draw(st.tuples(st.sampled_from([1, 2, -1, -3]), st.sampled_from([1, 2, -1])))
    whole = np.zeros(tuple(extent * abs(step) for extent, step in zip(SHAPE, steps)), np.float32)
    view = whole[:: steps[0], :: steps[1]]
    view[...] = x
    if data.draw(st.booleans()):
        view = at_boundary(x, data.draw(st.integers(0, 17)))
    if data.draw(st.booleans()):
        view = np.asfortranarray(view)
    view.flags.writeable = data.draw(st.booleans())
    before = view.copy()
    assert (chain(view) == chain_of(x)).all() and (view == before).all()


def test_a_well_placed_input_is_not_copied(chain: CompiledNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    addresses: list[int] = []
    entry = chain._entry

    def watched(inputs, outputs, weights, workspace):
        addresses.extend(int(_ffi().cast("uintptr_t", pointer)) for pointer in (inputs[0], outputs[0]))
        return entry(inputs, outputs, weights, workspace)

    monkeypatch.setattr(chain, "_entry", watched)
    x, y = at_boundary(integers()), at_boundary(integers())
    assert chain(x, out=y) is y and addresses == [x.ctypes.data, y.ctypes.data]
    elsewhere = at_boundary(integers(), 3)
    assert chain(elsewhere, out=y) is y and addresses[2] not in (elsewhere.ctypes.data, x.ctypes.data)


def _ffi():
    import cffi

    return cffi.FFI()


# Other libraries' arrays


def test_arrays_with_the_buffer_protocol(chain: CompiledNetwork) -> None:
    x = integers()
    assert (chain(memoryview(x)) == chain_of(x)).all()
    flat = array.array("f", x.reshape(-1).tolist())
    assert (chain(memoryview(flat).cast("B").cast("f", SHAPE)) == chain_of(x)).all()
    y = bytearray(x.nbytes)
    target = memoryview(y).cast("f", SHAPE)
    assert chain(x, out=target) is target
    assert (np.frombuffer(y, np.float32).reshape(SHAPE) == chain_of(x)).all()
    with pytest.raises(ValueError, match="read-only"):
        chain(x, out=memoryview(bytes(x.nbytes)).cast("f", SHAPE))


class Foreign:
    """An array of another library, which NumPy knows through DLPack only."""

    def __init__(self, values: np.ndarray) -> None:
        self._values = values

    def __dlpack__(self, **options):
        return self._values.__dlpack__(**options)

    def __dlpack_device__(self):
        return self._values.__dlpack_device__()


class OnAnotherDevice(Foreign):
    def __dlpack__(self, **options):
        raise BufferError("it lies on a graphics card")


def test_arrays_with_dlpack(chain: CompiledNetwork) -> None:
    x = at_boundary(integers())
    assert (chain(Foreign(x)) == chain_of(x)).all()
    assert np.shares_memory(as_array("x", Foreign(x)), x)
    with pytest.raises(TypeError, match="input 'x' cannot be read through DLPack: it lies on"):
        chain(OnAnotherDevice(x))


@pytest.mark.slow
def test_tensors_of_pytorch(chain: CompiledNetwork) -> None:
    torch = pytest.importorskip("torch")
    x = torch.from_numpy(integers())
    expected = chain_of(integers())
    assert (torch.from_dlpack(chain(x)).numpy() == expected).all()
    assert (chain(x.t().contiguous().t()) == expected).all()
    with pytest.raises(TypeError, match="DLPack"):
        chain(x.clone().requires_grad_())
    with pytest.raises(ValueError, match="must be float32"):
        chain(x.double())
    y = torch.zeros(SHAPE)
    assert chain(x, out=y) is y and (y.numpy() == expected).all()


# Outputs that the caller gives


def test_outputs_are_filled_wherever_they_lie(pair: CompiledNetwork) -> None:
    a, b = integers(1), integers(2)
    for offset in (0, 1, 5):
        outs = [at_boundary(np.zeros(SHAPE, np.float32), offset) for _ in range(2)]
        assert pair(a, b, out=outs) is outs
        assert (outs[0] == 2 * (a + 2 * b)).all() and (outs[1] == -(a + 2 * b)).all()
    only = np.empty(SHAPE, np.float32)
    pair(a, b, out=(only, None))
    assert (only == 2 * (a + 2 * b)).all()


def test_an_output_may_be_the_input(chain: CompiledNetwork) -> None:
    for offset in (0, 1):
        x = at_boundary(integers(), offset)
        chain(x, out=x)
        assert (x == chain_of(integers())).all()
        wide = at_boundary(np.concatenate([integers(), integers()]), offset)
        chain(wide[:6], out=wide[3:9])
        assert (wide[3:9] == chain_of(integers())).all()


def read_only() -> np.ndarray:
    values = np.zeros(SHAPE, np.float32)
    values.flags.writeable = False
    return values


@pytest.mark.parametrize(
    ("out", "error", "words"),
    [
        (np.zeros((50, 6), np.float32), ValueError, "out for 'y' must be float32"),
        (np.zeros(SHAPE), ValueError, r"got float64\[6, 50\]"),
        (np.zeros(SHAPE, ">f4"), ValueError, "must be float32"),
        (np.zeros((50, 6), np.float32).T, ValueError, "C-contiguous"),
        (read_only(), ValueError, "read-only"),
        (3.0, TypeError, "out for 'y' must be an array"),
        ([], ValueError, "sequence of 1 arrays"),
        (np.broadcast_to(np.float32(0), SHAPE), ValueError, "read-only"),
    ],
)
def test_outputs_that_cannot_be_filled(chain: CompiledNetwork, out, error, words) -> None:
    with pytest.raises(error, match=words):
        chain(integers(), out=out)


def test_outputs_may_not_overlap_one_another(pair: CompiledNetwork) -> None:
    y = np.zeros(SHAPE, np.float32)
    with pytest.raises(ValueError, match="out for 'minus' overlaps"):
        pair(integers(), integers(), out=[y, y])
    with pytest.raises(ValueError, match="sequence of 2 arrays"):
        pair(integers(), integers(), out=y)


@pytest.mark.parametrize(
    ("x", "error", "words"),
    [
        (integers().T, ValueError, r"must be float32\[6, 50\], got float32\[50, 6\]"),
        (integers().astype(np.float64), ValueError, "got float64"),
        (integers().astype(">f4"), ValueError, "got >f4"),
        (integers()[:5], ValueError, r"got float32\[5, 50\]"),
        (np.float32(1), ValueError, r"got float32\[\]"),
        (np.ma.masked_less(integers(), 0), TypeError, "masked"),
        ([[1.0]], TypeError, "got list"),
        (None, TypeError, "got NoneType"),
        ("text", TypeError, "got str"),
        (b"1234", ValueError, r"got uint8\[4\]"),
    ],
)
def test_inputs_that_are_not_as_declared(chain: CompiledNetwork, x, error, words) -> None:
    with pytest.raises(error, match=words):
        chain(x)


# Threads


def test_eight_threads_call_one_network(chain: CompiledNetwork) -> None:
    together = Barrier(8)

    def calls(seed: int) -> list[bool]:
        inputs = [integers(seed * 50 + number) for number in range(50)]
        together.wait(timeout=60)
        return [bool((chain(x) == chain_of(x)).all()) for x in inputs]

    with ThreadPoolExecutor(8) as pool:
        assert all(all(right) for right in pool.map(calls, range(8)))
    assert 1 <= len(chain._workspaces) <= 8


def test_a_bound_inference_has_memory_of_its_own(chain: CompiledNetwork) -> None:
    x = integers()
    bound = chain.bind({"x": x})
    x[...] = 0
    bound()
    assert (chain(integers(5)) == chain_of(integers(5))).all()
    assert (bound.outputs["y"] == chain_of(integers())).all()


# Lives


def test_a_temporary_network_takes_its_directory_with_it(tmp_path: Path) -> None:
    network = build(through_memory())
    directory = network.directory
    assert network.temporary and directory.is_dir()
    network.save(tmp_path / "kept")
    copy = pickle.loads(pickle.dumps(network))
    del network
    gc.collect()
    assert not directory.exists()
    for other in (CompiledNetwork.load(tmp_path / "kept"), copy):
        assert (other(integers()) == chain_of(integers())).all()
    assert (tmp_path / "kept").is_dir() and copy.temporary and copy.directory != directory


def test_a_pickled_network_runs_in_another_process_which_leaves_nothing(chain: CompiledNetwork, tmp_path: Path) -> None:
    (tmp_path / "network").write_bytes(pickle.dumps((chain, integers())))
    program = (
        "import pickle, sys\n"
        "network, x = pickle.load(open('network', 'rb'))\n"
        "pickle.dump((network(x), str(network.directory)), open('result', 'wb'))\n"
    )
    root = Path(__file__).resolve().parents[2]
    environment = {"PYTHONPATH": str(root), "PATH": "/nowhere", "TMPDIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True, timeout=120, env=environment)
    y, directory = pickle.loads((tmp_path / "result").read_bytes())
    assert (y == chain_of(integers())).all() and not Path(directory).exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["network", "result"]


def test_a_network_whose_directory_was_built_over_still_runs_but_cannot_be_kept(tmp_path: Path) -> None:
    first = build(through_memory(), tmp_path / "a")
    call = KernelCall(elementwise("add", SHAPE, 1, 1, False), ("x",), ("y",))
    build(Network("other", {"x": KIND}, {"y": KIND}, {}, {"y": KIND}, (call,)), tmp_path / "a")
    assert (first(integers()) == chain_of(integers())).all()
    for keep in (lambda: first.save(tmp_path / "b"), lambda: pickle.dumps(first), lambda: first.emit_c(tmp_path / "c")):
        with pytest.raises(ValueError, match="does not hold chain any more"):
            keep()


def test_code_for_a_richer_processor_is_refused(chain: CompiledNetwork, tmp_path: Path, monkeypatch) -> None:
    chain.save(tmp_path)
    path = tmp_path / "network.json"
    description = json.loads(path.read_text())
    path.write_text(json.dumps(description | {"instruction_sets": ["avx1024"]}))
    monkeypatch.setattr("runtime.compiled_network.instruction_sets", lambda: frozenset({"avx2"}))
    with pytest.raises(ValueError, match="avx1024, which this one lacks"):
        CompiledNetwork.load(tmp_path)
