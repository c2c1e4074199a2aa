"""A whole network as CUDA: every kernel's text, where every value lives, and the launches in order.

`CudaNetwork(network)` emits the kernels, each text once. It runs on the CPU, thread by thread and under checks
(`run_on_cpu`), or on a GPU through the driver (`on_device`), where weights are uploaded once and all intermediate
values share one piece of memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from runtime.array_arguments import inputs_of
from runtime.compile_cuda import TIMEOUT, Cubin
from runtime.cuda_builders import BUILDERS, default_builder
from runtime.machine import usable_cores
from runtime.memory_plan import Lifetime, aligned, lifetimes, place
from runtime.network import Network

if TYPE_CHECKING:
    from runtime.cuda_driver import Device
    from runtime.cuda_on_cpu import Report
    from runtime.emit_cuda import CudaModule, Launch

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Step:
    """One launch: its module, and the value behind each argument, or ("workspace", call, buffer)."""

    module: int
    launch: Launch
    arguments: tuple[str | tuple[str, int, str], ...]


class CudaNetwork:
    """The kernels of a network as CUDA, and the order in which they run.

    modules: one for each different loop nest. steps: the launches.
    Raises: EmitError: a loop nest has no CUDA.
    """

    def __init__(self, network: Network) -> None:
        from runtime.emit_cuda import emit_cuda

        self.network = network
        self.modules: list[CudaModule] = []
        self.steps: list[Step] = []
        self._workspaces: dict[int, dict[str, int]] = {}
        numbers: dict[int, int] = {}
        for number, call in enumerate(network.calls):
            if id(call.nest) not in numbers:
                numbers[id(call.nest)] = len(self.modules)
                self.modules.append(emit_cuda(call.nest))
            module = self.modules[numbers[id(call.nest)]]
            names: dict[str, str | tuple[str, int, str]] = {}
            for buffers, values in ((module.inputs, call.inputs), (module.outputs, call.outputs)):
                names.update((buffer.name, value) for buffer, value in zip(buffers, values, strict=True))
            names.update((buffer.name, ("workspace", number, buffer.name)) for buffer in module.workspace)
            self._workspaces[number] = {buffer.name: buffer.nbytes for buffer in module.workspace}
            for launch in module.launches:
                arguments = tuple(names[argument] for argument in launch.arguments)
                self.steps.append(Step(numbers[id(call.nest)], launch, arguments))

    @property
    def launches(self) -> int:
        """Kernels that one inference launches."""
        return len(self.steps)

    def run_on_cpu(
        self, feeds: Mapping[str, Any], *, checks: bool = True, time_limit: float | None = None
    ) -> tuple[Arrays, tuple[Report, ...]]:
        """One inference on the CPU, thread by thread; the outputs by name, and what the checks report.

        time_limit: seconds of one launch, in a child process.
        Raises: CompilerNotFound: there is no C++ compiler. ValueError, TypeError: an input is missing or does not fit.
        """
        from runtime.cuda_on_cpu import compile_on_cpu

        network = self.network
        with ThreadPoolExecutor(usable_cores()) as pool:
            kernels = list(pool.map(lambda module: compile_on_cpu(module.text, checks=checks), self.modules))
        memory: Arrays = dict(network.weights)
        memory |= dict(zip(network.inputs, inputs_of(network.name, network.inputs, feeds)))
        for number, buffers in self._workspaces.items():
            memory |= {f"{number}:{name}": np.full(nbytes, 0xFF, np.uint8) for name, nbytes in buffers.items()}
        reports: list[Report] = []
        for step in self.steps:
            dtypes = {buffer.name: buffer.dtype for buffer in _buffers(self.modules[step.module])}
            arrays = []
            for name, argument in zip(step.launch.arguments, step.arguments, strict=True):
                dtype = dtypes[name]
                arrays.append(self._view(memory, argument, dtype))
            launch = step.launch
            reports += kernels[step.module].launch(
                launch.kernel, launch.grid, launch.block, arrays, time_limit=time_limit
            )
        outputs = {
            name: np.array(self._view(memory, name, kind.dtype)).reshape(kind.shape)
            for name, kind in network.outputs.items()
        }
        return outputs, tuple(reports)

    def _view(self, memory: Arrays, argument: str | tuple[str, int, str], dtype: str) -> np.ndarray:
        """The array of a value, flat, made full of poison when it is first asked for."""
        if isinstance(argument, tuple):
            return memory[f"{argument[1]}:{argument[2]}"].view(dtype)
        source = self.network.source_of(argument)
        if source not in memory:
            memory[source] = np.full(self.network.type_of(source).nbytes, 0xFF, np.uint8)
        start, nbytes = self.network.start_of(argument), self.network.type_of(argument).nbytes
        flat = np.ascontiguousarray(memory[source]).reshape(-1)
        whole = flat if flat.dtype == dtype and nbytes == flat.nbytes else flat.view(np.uint8)[start : start + nbytes]
        return whole.view(dtype)

    def compile(self, arch: str, *, builder: str | None = None, timeout: float = TIMEOUT) -> list[Cubin]:
        """The machine code of every module, built side by side.  Raises: CompilerNotFound, CudaCompileError."""
        build = BUILDERS[builder or default_builder()]
        with ThreadPoolExecutor(usable_cores()) as pool:
            return list(pool.map(lambda module: build(module.text, arch, timeout), self.modules))

    def on_device(self, device: Device, arch: str, *, builder: str | None = None) -> DeviceNetwork:
        """The network in a GPU's memory, ready to run."""
        return DeviceNetwork(self, device, self.compile(arch, builder=builder))

    def places(self) -> tuple[dict[str, int], dict[int, dict[str, int]], int]:
        """Where values and the workspaces of calls start in one piece of memory, and how many bytes that has."""
        values = lifetimes(self.network)
        scratch = {
            call: Lifetime(sum(map(aligned, buffers.values())), call, call)
            for call, buffers in self._workspaces.items()
            if buffers
        }
        offsets, total = place([*values.values(), *scratch.values()])
        starts = dict(zip(values, offsets))
        workspaces: dict[int, dict[str, int]] = {}
        for call, start in zip(scratch, offsets[len(values) :]):
            workspaces[call] = {}
            for name, nbytes in self._workspaces[call].items():
                workspaces[call][name] = start
                start += aligned(nbytes)
        return starts, workspaces, total


class DeviceNetwork:
    """A network with its weights on a GPU; calling it is one inference. A context manager."""

    def __init__(self, source: CudaNetwork, device: Device, cubins: Sequence[Cubin]) -> None:
        """Load the code, upload the weights, and record the launches.  Raises: CudaError: there is no memory."""
        from runtime.cuda_graph import Graph, in_order

        self.network, self.device = source.network, device
        self._modules = [device.load(cubin.path) for cubin in cubins]
        starts, workspaces, total = source.places()
        self._addresses: dict[str, int] = {}
        base = device.allocate(total)
        self._allocated = [base]
        for name, array in self.network.weights.items():
            self._new(name, array.nbytes)
            device.upload(self._addresses[name], np.ascontiguousarray(array))
        for name, kind in (*self.network.inputs.items(), *self.network.outputs.items()):
            if name not in self._addresses:
                self._new(name, kind.nbytes)
        self._addresses |= {value: base + start for value, start in starts.items()}
        self._addresses |= {value: self._addresses[home] for value, home in self.network.homes().items()}
        self.launches = []
        for step in source.steps:
            arguments = [
                base + workspaces[argument[1]][argument[2]] if isinstance(argument, tuple) else self._address(argument)
                for argument in step.arguments
            ]
            launch = step.launch
            dynamic = cubins[step.module].dynamic_shared(launch.kernel, launch.shared_bytes)
            function = self._modules[step.module].function(launch.kernel)
            self.launches.append(function.prepare(launch.grid, launch.block, arguments, dynamic))
        self._inference = Graph(device, in_order(self.launches), 1)

    def _new(self, name: str, nbytes: int) -> None:
        self._addresses[name] = self.device.allocate(nbytes)
        self._allocated.append(self._addresses[name])

    def _address(self, value: str) -> int:
        return self._addresses[self.network.source_of(value)] + self.network.start_of(value)

    def launch(self) -> None:
        """Put one inference on the stream, all launches at once; inputs are those of the last call."""
        self._inference()

    def __call__(self, **feeds: Any) -> Arrays:
        """One inference: inputs to the GPU, launches, outputs back.  Raises: ValueError, TypeError, CudaError."""
        for name, array in zip(self.network.inputs, inputs_of(self.network.name, self.network.inputs, feeds)):
            self.device.upload(self._addresses[name], np.ascontiguousarray(array))
        self.launch()
        self.device.synchronize()
        outputs = {name: np.empty(kind.shape, kind.dtype) for name, kind in self.network.outputs.items()}
        copies = dict(self.network.copies())
        for name, array in outputs.items():
            self.device.download(self._address(copies.get(name, name)), array)
        return outputs

    def seconds(self, *, min_seconds: float = 0.01, repeats: int = 10) -> list[float]:
        """GPU seconds of one inference, for each of several groups, without the copies of inputs and outputs."""
        from runtime.cuda_timing import sample

        return sample(self.device, self.launch, min_seconds=min_seconds, repeats=repeats, graphs=False)

    def close(self) -> None:
        """Give memory and code back."""
        self._inference.close()
        for address in self._allocated:
            self.device.free(address)
        for module in self._modules:
            module.unload()

    def __enter__(self) -> DeviceNetwork:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _buffers(module: CudaModule) -> list[Any]:
    return [*module.inputs, *module.outputs, *module.workspace]
