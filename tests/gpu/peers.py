"""Times what PyTorch (cuBLAS, cuDNN) takes for the same work: a process of its own, one answer per line.

`python -m tests.gpu.peers` reads a JSON list of requests and writes a JSON line for each as soon as it is known, so
that what was finished survives a time limit. Single precision means single precision: TF32 is off.
"""

from __future__ import annotations

import json
import math
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

Call = Callable[[], Any]
Request = dict[str, Any]  # name, kind (one of KINDS), and the kind's own sizes
GRAPH_SECONDS, GRAPH_CALLS, WARM_UPS = 50e-6, 64, 3


def peer_seconds(requests: list[Request], timeout: float) -> dict[str, list[float] | str]:
    """Seconds per call by the request's name, or why there are none; empty without PyTorch or a GPU for it."""
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-m", "tests.gpu.peers"]
    try:
        done = subprocess.run(
            command, input=json.dumps(requests), capture_output=True, text=True, timeout=timeout, cwd=root, check=False
        )
        text, fate = done.stdout, f"the process ended with status {done.returncode}"
    except subprocess.TimeoutExpired as error:
        text = error.stdout.decode() if isinstance(error.stdout, bytes) else error.stdout or ""
        fate = f"not done after {timeout:.0f} s"
    answers: dict[str, list[float] | str] = {request["name"]: fate for request in requests}
    for line in text.splitlines():
        if line.startswith("{"):
            answers |= json.loads(line)
    return answers


def serve() -> None:
    """Answer the requests on stdin."""
    requests = json.load(sys.stdin)
    try:
        import torch
    except ImportError:
        return _answer({request["name"]: "PyTorch is not installed" for request in requests})
    if not torch.cuda.is_available():
        return _answer({request["name"]: "PyTorch finds no GPU" for request in requests})
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = True
    _answer({"": f"PyTorch {torch.__version__}, CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}"})
    with torch.inference_mode():
        for request in requests:
            try:
                call = KINDS[request["kind"]](torch, request)
                recorded = request.get("recorded", False)
                _answer({request["name"]: seconds(torch, call, request.get("cold", 0), recorded=recorded)})
            except Exception as error:  # one peer that fails must not take the others along
                _answer({request["name"]: f"{type(error).__name__}: {str(error)[:200]}"})
            torch.cuda.empty_cache()


def _answer(line: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def seconds(
    torch: Any, call: Call, cold: int, repeats: int = 10, min_seconds: float = 2e-3, *, recorded: bool = False
) -> list[float]:
    """Seconds per call in groups, as `runtime.cuda_timing.sample`.

    cold: so many bytes are written before each call. recorded: the launches of a call are put on the stream as one.
    """
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))

    def timed(function: Call, times: int = 1) -> float:
        start.record()
        for _ in range(times):
            function()
        end.record()
        end.synchronize()
        return float(start.elapsed_time(end)) * 1e-3

    timed(call)
    once = statistics.median(timed(call) for _ in range(WARM_UPS))
    if cold:
        other = torch.empty(cold, dtype=torch.uint8, device="cuda")
        return [(other.zero_(), timed(call))[1] for _ in range(repeats)]
    per_group = 1
    if recorded or once < GRAPH_SECONDS:
        per_group = 1 if recorded else GRAPH_CALLS
        call = _graph(torch, call, per_group)
        once = timed(call)
    calls = max(1, math.ceil(min_seconds / max(once, 1e-7)))
    return [timed(call, calls) / calls / per_group for _ in range(repeats)]


def _graph(torch: Any, call: Call, times: int) -> Call:
    """So many calls as one, which hides the time that Python needs for a launch."""
    graph = torch.cuda.CUDAGraph()
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        call()
    torch.cuda.synchronize()
    with torch.cuda.graph(graph):
        for _ in range(times):
            call()
    return graph.replay


def _random(torch: Any, shape: Iterable[int], dtype: str = "float32") -> Any:
    return torch.randn(*shape, device="cuda", dtype=torch.float32).to(getattr(torch, dtype))


def _copy(torch: Any, request: Request) -> Call:
    source = _random(torch, (request["elements"],))
    target = torch.empty_like(source)
    return lambda: target.copy_(source)


def _matmul(torch: Any, request: Request) -> Call:
    m, n, k = request["shape"]
    dtype = request.get("dtype", "float32")
    torch.backends.cuda.matmul.allow_tf32 = dtype == "tf32"
    stored = "float32" if dtype == "tf32" else dtype
    a, b = _random(torch, (m, k), stored), _random(torch, (k, n), stored)
    c = torch.empty(m, n, device="cuda", dtype=a.dtype)
    return lambda: torch.mm(a, b, out=c)


def _batch_matmul(torch: Any, request: Request) -> Call:
    batch, m, n, k = request["shape"]
    a, b = _random(torch, (batch, m, k)), _random(torch, (batch, k, n))
    return lambda: torch.bmm(a, b)


def _conv(torch: Any, request: Request) -> Call:
    x, w = (_random(torch, request[name], request.get("dtype", "float32")) for name in ("input", "weight"))
    if request.get("channels_last"):
        x, w = (tensor.to(memory_format=torch.channels_last) for tensor in (x, w))
    function = getattr(torch.nn.functional, request.get("function", "conv2d"))
    return lambda: function(x, w, **request.get("options", {}))


def _softmax(torch: Any, request: Request) -> Call:
    x = _random(torch, request["shape"])
    return lambda: torch.softmax(x, -1)


def _norm(torch: Any, request: Request) -> Call:
    x = _random(torch, request["shape"])
    return lambda: torch.linalg.vector_norm(x, dim=tuple(range(1, x.dim())))


def _add(torch: Any, request: Request) -> Call:
    x, y = (_random(torch, request["shape"]) for _ in range(2))
    out = torch.empty_like(x)
    return lambda: torch.add(x, y, out=out)


def _reduce(torch: Any, request: Request) -> Call:
    x = _random(torch, request["shape"])
    return lambda: torch.sum(x, -1)


def _min(torch: Any, request: Request) -> Call:
    x = _random(torch, request["shape"])
    return lambda: torch.amin(x, -1)


def _network(torch: Any, request: Request) -> Call:
    from tests.gpu.networks import torch_call

    return torch_call(torch, request)


KINDS: dict[str, Callable[[Any, Request], Call]] = {
    "copy": _copy,
    "matmul": _matmul,
    "batch_matmul": _batch_matmul,
    "conv": _conv,
    "softmax": _softmax,
    "norm": _norm,
    "add": _add,
    "sum": _reduce,
    "min": _min,
    "network": _network,
}

if __name__ == "__main__":
    serve()
