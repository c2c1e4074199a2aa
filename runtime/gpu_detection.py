"""Which GPU this machine has, as a `Gpu`: a known one by its name, any other by what its driver says.

No context is made, so asking costs no device memory.
"""

from __future__ import annotations

from dataclasses import replace

from runtime.cuda_driver import ATTRIBUTES
from runtime.cuda_library import CudaError, Driver, NoGpu, open_driver
from runtime.gpu import GPUS, Gpu
from runtime.machine import size_text

# What nothing says: the share of the memory's rate on paper that copies reach, and single precision lanes of a
# multiprocessor (64 up to compute capability 8.0, 128 after it, and 128 on 9.0 and 10.0).
COPY_SHARE, FEW_LANES, MANY_LANES = 0.9, 64, 128


def detect_gpu(ordinal: int = 0, driver: Driver | None = None) -> Gpu:
    """Describe a GPU of this machine.

    Raises: NoGpu: there is none that can be used. ValueError: there are fewer.
    """
    driver = driver or open_driver()
    count = driver.number("cuDeviceGetCount", "int")
    if not 0 <= ordinal < count:
        raise ValueError(f"ordinal must be from 0 to {count - 1} on this machine, got {ordinal}")
    device = driver.number("cuDeviceGet", "CUdevice", ordinal)
    text = driver.ffi.new("char[]", 256)
    driver.call("cuDeviceGetName", text, 256, device)
    facts = {name: driver.number("cuDeviceGetAttribute", "int", number, device) for name, number in ATTRIBUTES.items()}
    name, memory = driver.ffi.string(text).decode(), int(driver.number("cuDeviceTotalMem_v2", "size_t", device))
    return gpu_of(name, facts, memory)


def gpu_of(name: str, facts: dict[str, int], memory_bytes: int) -> Gpu:
    """A `Gpu` from a device's name and its driver's attributes, named as in `cuda_driver.ATTRIBUTES`."""
    sizes = {key: facts[key] for key in facts if key in Gpu.__dataclass_fields__}
    known = next((gpu for gpu in GPUS.values() if gpu.name == name), None)
    if known is not None:
        return replace(known, memory_bytes=memory_bytes, **sizes)  # type: ignore[arg-type]
    capability = facts["major"], facts["minor"]
    lanes = FEW_LANES if capability in ((7, 0), (7, 2), (7, 5), (8, 0)) else MANY_LANES
    clock = 1e3 * facts["clock_khz"]
    return Gpu(
        name,
        arch=f"sm_{facts['major']}{facts['minor']}",
        memory_bytes=memory_bytes,
        clock_hz=clock,
        memory_bytes_per_second=COPY_SHARE * 2e3 * facts["memory_clock_khz"] * facts["memory_bus_bits"] / 8,
        l2_bytes_per_second=clock * facts["multiprocessors"] * 14.0,  # bytes a cycle, as an H100's
        flops=2.0 * clock * lanes * facts["multiprocessors"],
        tensor_flops=15.0 * 2.0 * clock * lanes * facts["multiprocessors"],  # an H100's and an A100's ratio
        **sizes,  # type: ignore[arg-type]
    )


def device_lines() -> list[tuple[str, str]]:
    """What there is to say about the GPU and its driver, as subject and text.  Raises: NoGpu: there is none."""
    driver = open_driver()
    try:
        gpu = detect_gpu(driver=driver)
    except CudaError as error:
        raise NoGpu(f"no usable GPU: {error}") from None
    release = ".".join(str(number) for number in driver.version)
    return [("gpu", f"{gpu.line}, memory {size_text(gpu.memory_bytes)}"), ("driver", f"{driver.path}: CUDA {release}")]
