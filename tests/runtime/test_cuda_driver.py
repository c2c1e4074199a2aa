import numpy as np
import pytest

from runtime import cuda_library, cuda_stand_in
from runtime.cuda_driver import OUT_OF_MEMORY, Device, triple
from runtime.cuda_graph import Graph, in_order
from runtime.cuda_library import CudaError, NoGpu, open_driver
from runtime.cuda_on_cpu.build import build_on_cpu
from runtime.cuda_timing import Clock, sample
from runtime.gpu import GPUS
from runtime.gpu_detection import detect_gpu, device_lines, gpu_of

pytestmark = pytest.mark.cc

SCALE = """extern "C" __global__ void scale(const float* A, float* B, int n, float by) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) B[i] = A[i] * by + B[i];
}
"""


@pytest.fixture(autouse=True)
def stand_in():
    cuda_library._open_driver.cache_clear()
    with cuda_stand_in.use():
        yield
    cuda_library._open_driver.cache_clear()


@pytest.fixture
def device():
    with Device() as opened:
        yield opened


@pytest.fixture
def scaled(device):
    """Adds 2 A to B: the launch, and a function that reads B."""
    arrays = [np.arange(100, dtype=np.float32), np.zeros(100, np.float32)]
    addresses = [device.allocate(array.nbytes) for array in arrays]
    for address, array in zip(addresses, arrays):
        device.upload(address, array)
    function = device.load(build_on_cpu(SCALE)).function("scale")

    def read():
        result = np.empty(100, np.float32)
        device.download(addresses[1], result)
        return result

    return function.prepare(2, 64, [*addresses, np.int32(100), np.float32(2.0)]), read


def test_a_kernel_with_pointers_and_numbers(scaled, device):
    launch, read = scaled
    launch()
    device.synchronize()
    assert (read() == 2.0 * np.arange(100)).all()


def test_a_graph_runs_what_was_recorded_and_nothing_before(scaled, device):
    launch, read = scaled
    with Graph(device, in_order([launch, launch]), 3) as graph:
        assert (read() == 0).all()
        graph()
        graph()
    device.synchronize()
    assert (read() == 2 * 6 * 2.0 * np.arange(100)).all()


@pytest.mark.parametrize("graphs", [True, False])
def test_a_sample_has_the_groups_that_were_asked_for(scaled, device, graphs):
    seconds = sample(device, scaled[0], min_seconds=1e-4, repeats=4, graphs=graphs)
    assert len(seconds) == 4 and min(seconds) > 0


def test_a_cold_cache_is_flushed_before_each_call(scaled, device):
    flushed = []
    assert len(sample(device, scaled[0], repeats=5, flush=lambda: flushed.append(1))) == 5
    assert len(flushed) == 5


def test_a_call_of_half_a_second_is_timed_once(scaled, device, monkeypatch):
    monkeypatch.setenv("MINI_STAND_IN", "slow=scale")
    assert len(sample(device, scaled[0])) == 1


def test_time_passes(scaled, device):
    clock = Clock(device)
    assert clock.seconds(scaled[0], 3) > 0
    clock.close()


def test_memory_is_filled_and_given_back(device):
    free = device.memory[0]
    address = device.allocate(1000)
    device.fill(address, 0xFF, 1000)
    read = np.zeros(250, np.float32)
    device.download(address, read)
    assert np.isnan(read).all() and device.memory[0] == free - 1000
    device.free(address)
    assert device.memory[0] == free


def test_more_memory_than_there_is(device):
    with pytest.raises(CudaError, match="CUDA_ERROR_OUT_OF_MEMORY .out of memory. from cuMemAlloc_v2") as caught:
        device.allocate(1 << 50)
    assert caught.value.code == OUT_OF_MEMORY
    device.synchronize()  # that error does not poison the context


def test_a_fault_poisons_the_context(monkeypatch):
    monkeypatch.setenv("MINI_STAND_IN", "fault=scale")
    with pytest.raises(CudaError, match="CUDA_ERROR_ILLEGAL_ADDRESS.*cuLaunchKernel of scale"), Device() as device:
        launch = device.load(build_on_cpu(SCALE)).function("scale").prepare(1, 1, [0, 0, np.int32(0), np.float32(1)])
        launch()
    with pytest.raises(CudaError, match="CUDA_ERROR_ILLEGAL_ADDRESS.*cuCtxSynchronize"):
        device.synchronize()


def test_a_kernel_that_is_not_there(device):
    with pytest.raises(ValueError, match="no kernel `other` in the module"):
        device.load(build_on_cpu(SCALE)).function("other")


def test_what_is_no_cubin(device):
    with pytest.raises(CudaError, match="CUDA_ERROR_INVALID_IMAGE"):
        device.load(b"no cubin at all, but long enough for a header of an ELF file to be looked at")


@pytest.mark.parametrize("grid, block", [(0, 32), (1, 2048), ((1, 70000), 32)])
def test_a_launch_that_cannot_be(device, grid, block):
    function = device.load(build_on_cpu(SCALE)).function("scale")
    with pytest.raises((CudaError, ValueError), match="CUDA_ERROR_INVALID_VALUE|one to three positive numbers"):
        function.prepare(grid, block, [])()


@pytest.mark.parametrize("wrong", [0, -1, (), (1, 2, 3, 4), (1, 0), 1.5])
def test_dimensions(wrong):
    with pytest.raises((ValueError, TypeError)):
        triple(wrong, "grid")


@pytest.mark.parametrize(
    "failure, sentence",
    [
        ("no_device", "no GPU: the CUDA driver finds no device"),
        ("old_driver", "no usable GPU: the driver is of CUDA 10.2, CUDA 12.0 or newer is needed"),
    ],
)
def test_a_driver_without_a_gpu_or_too_old(failure, sentence, monkeypatch):
    monkeypatch.setenv("MINI_STAND_IN", failure)
    with pytest.raises(NoGpu, match=sentence):
        open_driver()


def test_no_driver_is_one_sentence(monkeypatch):
    monkeypatch.setenv("MINI_CUDA_DRIVER", "/nowhere/libcuda.so.1")
    with pytest.raises(NoGpu, match=r"^no GPU: this machine has no CUDA driver \(.*/nowhere/libcuda.so.1.*\)$"):
        open_driver()


def test_a_library_that_is_no_driver(monkeypatch):
    monkeypatch.setenv("MINI_CUDA_DRIVER", "libm.so.6")
    with pytest.raises(NoGpu, match="libm.so.6 is no CUDA driver of CUDA 12.0 or newer, it has no cuInit"):
        open_driver()


def test_fewer_gpus_than_asked_for():
    with pytest.raises(ValueError, match="ordinal must be from 0 to 0 on this machine, got 3"):
        Device(3)
    with pytest.raises(ValueError, match="ordinal must be from 0 to 0 on this machine, got 3"):
        detect_gpu(3)


def test_the_gpu_that_the_driver_describes():
    found = detect_gpu()
    assert (found.name, found.arch, found.multiprocessors) == (cuda_stand_in.NAME, "sm_90", 132)
    assert found.shared_per_block == 48 << 10 and found.shared_per_multiprocessor == 228 << 10
    assert 60e12 < found.flops < 70e12 and 2e12 < found.memory_bytes_per_second < 4e12
    assert dict(device_lines())["gpu"].startswith(cuda_stand_in.NAME)


def test_a_known_gpu_keeps_its_measured_rates():
    known = GPUS["h100"]
    facts = {"multiprocessors": 114, "l2_bytes": 5, "major": 9, "minor": 0, "clock_khz": 1, "memory_clock_khz": 1}
    found = gpu_of(known.name, facts, 7)
    assert found.memory_bytes_per_second == known.memory_bytes_per_second
    assert (found.multiprocessors, found.l2_bytes, found.memory_bytes) == (114, 5, 7)
