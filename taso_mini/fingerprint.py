"""Fingerprints: short numbers that tell graphs with different values apart.

Paper: TASO §2.2. A tensor's fingerprint is a 64-bit digest of its elements together with its shape and split trees; a
graph's fingerprint is the sum of its outputs' fingerprints, each scrambled first, so that it does not depend on their
order and {a, b} is not confused with {a + c, b - c}. Equal fingerprints make two graphs candidates, nothing more: every
candidate is tested on other values and shapes and then proved.

>>> a, b = np.arange(4), np.arange(4) + 1
>>> one, two = tensor_fingerprint(Shape((4,)), a), tensor_fingerprint(Shape((4,)), b)
>>> graph_fingerprint([one, two]) == graph_fingerprint([two, one]) != graph_fingerprint([one, one])
True
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np

from taso_mini.shapes import Shape

_MASK = 2**64 - 1


def tensor_fingerprint(shape: Shape, value: np.ndarray) -> int:
    """Return the digest of a tensor: its dims, its split trees and its elements."""
    digest = hashlib.blake2b(repr((shape.dims, shape.trees)).encode(), digest_size=8)
    digest.update(np.ascontiguousarray(value).tobytes())
    return int.from_bytes(digest.digest(), "little")


def scramble(number: int) -> int:
    """Return a non-linear one-to-one function of a 64-bit number."""
    number = (number ^ (number >> 30)) * 0xBF58476D1CE4E5B9 & _MASK
    number = (number ^ (number >> 27)) * 0x94D049BB133111EB & _MASK
    return number ^ (number >> 31)


def graph_fingerprint(outputs: Iterable[int]) -> int:
    """Return the order-independent digest of a graph from its outputs' fingerprints."""
    return sum(map(scramble, outputs)) & _MASK
