"""What the one command runs, in order: cheap and sure first, so that a short budget still gives the main figures."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tests.gpu import by_hand, emitted, failures, networks, sanitizer, tensorized, tuned
from tests.gpu.report import Row
from tests.gpu.session import Session

SECTIONS: dict[str, Callable[[Session], Iterator[Row]]] = {
    "copy": by_hand.copies,
    "matmul": by_hand.matmuls,
    "tensor-cores": by_hand.tensor_cores,
    "ladder": emitted.ladder,
    "tensorized": tensorized.tensorized,
    "sanitizer": sanitizer.sanitize,
    "failures": failures.failures,
    "networks": networks.networks,
    "tune": tuned.tune_list,
    "model": tuned.model_against_measured,
}
