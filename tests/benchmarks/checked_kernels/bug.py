"""A mistake to be planted in a kernel, and the mistakes that need no list: every barrier taken out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from tests.benchmarks.checked_kernels.cases import KernelCase, Launch


@dataclass(frozen=True)
class Bug:
    """One mistake: `old` becomes `new` at its only place in the kernel's text, or the launch is another.

    kind: what sort of mistake it is; several kernels may show the same kind. expected: reports that name it.
    """

    kernel: str
    kind: str
    old: str
    new: str
    expected: tuple[str, ...]
    launch: Launch | None = None

    def planted(self, case: KernelCase) -> str:
        """The kernel's text with the mistake.

        Raises: ValueError: the text has no such place, or several.
        """
        if not self.old:
            return case.text
        if case.text.count(self.old) != 1:
            raise ValueError(f"{self.kernel}: {self.old!r} stands {case.text.count(self.old)} times in its text")
        return case.text.replace(self.old, self.new)


def removed_barriers(case: KernelCase) -> Iterator[Bug]:
    """Each barrier of a kernel's text taken out, one at a time; comments say what each is for."""
    found = re.compile(r"(__syncthreads|__syncwarp|__pipeline_wait_prior)\(\w*\);( // [^\n]*)")
    for place in found.finditer(case.text):
        what = "wait for copies" if "pipeline" in place[1] else place[1]
        kinds = ("shared-race", "uninitialised-shared")
        yield Bug(case.name, f"{what} removed: {place[2][4:]}", place[0], place[2], kinds)
