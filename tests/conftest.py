"""What all tests share: Hypothesis profiles, a kernel cache of their own, and the meaning of the marks.

Profiles: `dev` (the default, few examples), `ci` (when CI=true: derandomised, more examples) and `deep`; choose one
with `--hypothesis-profile` or HYPOTHESIS_PROFILE.
"""

from __future__ import annotations

import os
import shutil
import tempfile

import pytest
from hypothesis import HealthCheck, settings

IN_CI = os.environ.get("CI", "").lower() in ("1", "true")

# A deadline is wall clock, and the first example may compile a kernel: none of the profiles has one.
_COMMON = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow], "print_blob": True}
settings.register_profile("dev", max_examples=20, **_COMMON)
settings.register_profile("ci", max_examples=40, derandomize=True, **_COMMON)
settings.register_profile("deep", max_examples=1000, **_COMMON)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if IN_CI else "dev"))

# Test workers share the cores; threads that spin while they wait would take them from one another.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

# The first process of a run (workers inherit the setting) gives all of them an empty kernel cache and removes it.
_own_cache: str | None = None
if "MINI_CACHE" not in os.environ:
    _own_cache = os.environ["MINI_CACHE"] = tempfile.mkdtemp(prefix="mini-compilers-tests-")


def pytest_unconfigure() -> None:
    """Remove the kernel cache this run has made."""
    if _own_cache:
        shutil.rmtree(_own_cache, ignore_errors=True)
        os.environ.pop("MINI_CACHE", None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run slow tests last, and skip those that need a C compiler where there is none (in CI they fail instead)."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is not None)
    compiled = [item for item in items if item.get_closest_marker("cc")]
    if compiled and not IN_CI and not _has_compiler():
        for item in compiled:
            item.add_marker(pytest.mark.skip(reason="no C compiler; install gcc or clang, or `pip install ziglang`"))


@pytest.fixture
def hasty_choices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels are chosen in their network by one look: for tests that do not ask which is the fastest."""
    for name in ("TURNS", "ROUNDS", "WHOLE_TURNS"):
        monkeypatch.setattr(f"ansor_mini.in_place.{name}", 1)


def _has_compiler() -> bool:
    from runtime.compile_c import CompilerNotFound, find_compiler

    try:
        find_compiler()
    except CompilerNotFound:
        return False
    return True
