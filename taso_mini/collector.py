"""Search without the garbage collector's rounds.

Paper: TASO §5. A search keeps every graph that it has met, and the collector walks over all of them again and again
looking for objects that need each other in a circle. A search makes none (a test counts them), so while it lasts the
walks, up to a third of its time, are for nothing. Reference counts free what is dropped, as ever. Nor is what it made
walked over as soon as it ends: it counts as old, as if it had been walked over and found needed. What was young before
has its walk first, so that no circle of others grows old unseen.

>>> with paused():
...     gc.isenabled()
False
>>> gc.isenabled()
True
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def paused() -> Iterator[None]:
    """Keep the collector from running; afterwards it is as it was."""
    enabled = gc.isenabled()
    if enabled:
        gc.collect(1)
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            _age()
            gc.enable()


def _age() -> None:
    """Put all objects among the old ones, which are looked at when there are many more of them; nobody's are frozen."""
    if hasattr(gc, "freeze") and not gc.get_freeze_count():
        gc.freeze()
        gc.unfreeze()
