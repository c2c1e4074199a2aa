"""An executor for the commands that share their work: processes of this machine, or a Dask cluster.

Paper: TASO §2. The paper leaves distributed generation to future work. The extra `cluster` has what is needed.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager

LOCAL = "local"


@contextmanager
def shared(workers: int, address: str | None) -> Iterator[Executor | None]:
    """Hand out the executor that a command's options ask for: `--workers`, `--cluster`, or None for neither.

    Raises: ValueError: both are given, or workers is negative.  ImportError: as `cluster`.
    """
    if workers < 0 or (workers and address is not None):
        raise ValueError(f"expected --workers of at least 0, or --cluster instead, got {workers} and {address}")
    if not workers:
        with cluster(address) as executor:
            yield executor
        return
    with ProcessPoolExecutor(workers) as pool:
        yield pool


@contextmanager
def cluster(address: str | None, workers: int = 2) -> Iterator[Executor | None]:
    """Hand out the executor of a cluster; None without an address.

    Args:
        address: of a Dask scheduler, as `tcp://host:8786`, or `local` for workers of this machine.
        workers: how many of them.

    Raises: ImportError: Dask is not installed.
    """
    if address is None:
        yield None
        return
    try:
        from distributed import Client
    except ImportError:
        raise ImportError("a cluster needs Dask: pip install 'mini-compilers[cluster]'") from None
    local = {"n_workers": workers, "threads_per_worker": 1, "dashboard_address": None}
    with Client(**local) if address == LOCAL else Client(address) as client:
        yield client.get_executor()
