"""The numbers that substitutions are computed with: a finite field to generate and to refute, floats to double-check.

Paper: TASO §2.2. The paper fingerprints graphs on integers and tests the candidates on floats. We take integers modulo
the prime 2**31 - 1, so that sums and products are exact and a difference between two polynomials of degree D survives
at a random point with probability at least 1 - D / (2**31 - 1). Relu and max are no polynomials and true relu answers 0
so often that unrelated graphs agree; in the field both are random functions: relu a hash of its argument with
relu(0) = 0 (padding relies on it), max a hash of the *set* of the window's values. What holds for random functions
holds for relu and max; what needs their own laws, such as relu(relu(x)) = relu(x), is not found.

>>> field = FiniteField()
>>> a = field.draw(np.random.default_rng(0), (2, 3))
>>> bool((field.matmul(a, field.mul(a, a).T) < field.modulus).all())
True
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

Array = np.ndarray


class Arithmetic(Protocol):
    """What operators need to know about numbers."""

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
        """Return random values."""

    def fraction(self, shape: tuple[int, ...], parts: int) -> Array:
        """Return a tensor of which each element is 1 / parts."""

    def add(self, a: Array, b: Array) -> Array:
        """Return a + b."""

    def mul(self, a: Array, b: Array) -> Array:
        """Return a * b, element by element."""

    def matmul(self, a: Array, b: Array) -> Array:
        """Return the matrix product of two 2-D arrays."""

    def relu(self, a: Array) -> Array:
        """Return max(a, 0), or a random function that maps 0 to 0."""

    def window_mean(self, windows: Array) -> Array:
        """Return the mean over the last axis."""

    def window_max(self, windows: Array, inside: Array) -> Array:
        """Return the maximum over the last axis of the values that lie `inside` the image (the rest is padding)."""

    def equal(self, a: Array, b: Array) -> bool:
        """Whether two results agree."""


class FiniteField:
    """Integers modulo a prime below 2**31; relu and max are fixed random functions."""

    def __init__(self, modulus: int = 2**31 - 1) -> None:
        """Compute modulo `modulus`, a prime of at most 31 bits (int64 then holds every intermediate result)."""
        self.modulus = modulus

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
        """Return uniform residues other than 0."""
        return rng.integers(1, self.modulus, size=shape, dtype=np.int64)

    def fraction(self, shape: tuple[int, ...], parts: int) -> Array:
        """Return a tensor of which each element is the inverse of `parts`."""
        return np.full(shape, pow(parts, -1, self.modulus), dtype=np.int64)

    def add(self, a: Array, b: Array) -> Array:
        """Return a + b mod p."""
        return (a + b) % self.modulus

    def mul(self, a: Array, b: Array) -> Array:
        """Return a * b mod p."""
        return (a * b) % self.modulus

    def matmul(self, a: Array, b: Array) -> Array:
        """Return a @ b mod p; b is split into halves of 16 bits so that sums of products fit in int64."""
        low, high = b & 0xFFFF, b >> 16
        return ((a @ low) + (((a @ high) % self.modulus) << 16)) % self.modulus

    def _hash(self, a: Array) -> Array:
        bits = np.asarray(a).astype(np.uint64)
        with np.errstate(over="ignore"):  # multiplication modulo 2**64 is meant
            bits = (bits ^ (bits >> np.uint64(17))) * np.uint64(0x9E3779B97F4A7C15)
            bits = (bits ^ (bits >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
        return ((bits ^ (bits >> np.uint64(32))) % np.uint64(self.modulus)).astype(np.int64)

    def relu(self, a: Array) -> Array:
        """Return a hash of each element; 0 stays 0."""
        return np.where(a == 0, 0, self._hash(a))

    def window_mean(self, windows: Array) -> Array:
        """Return the sum times the inverse of the number of elements."""
        inverse = pow(windows.shape[-1], -1, self.modulus)
        return (windows.sum(axis=-1) % self.modulus) * inverse % self.modulus

    def window_max(self, windows: Array, inside: Array) -> Array:
        """Return a hash of the set of inside values; a set of one value maps to that value."""
        outside = np.int64(-1)
        ordered = np.sort(np.where(inside, windows, outside), axis=-1)
        fresh = np.ones(ordered.shape, dtype=bool)
        fresh[..., 1:] = ordered[..., 1:] != ordered[..., :-1]
        fresh &= ordered != outside
        mixed = self._hash(np.where(fresh, self._hash(np.where(fresh, ordered + 1, 0)), 0).sum(axis=-1))
        return np.where(fresh.sum(axis=-1) == 1, ordered[..., -1], mixed)

    def equal(self, a: Array, b: Array) -> bool:
        """Whether the residues are the same."""
        return a.shape == b.shape and bool(np.array_equal(a, b))


class Floats:
    """Double precision with true relu and max: the paper's second test."""

    def __init__(self, tolerance: float = 1e-5) -> None:
        """Take results as equal within `tolerance`, relative to the largest value or to 1 if that is larger."""
        self.tolerance = tolerance

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
        """Return uniform values in [-1, 1]."""
        return rng.uniform(-1.0, 1.0, size=shape)

    def fraction(self, shape: tuple[int, ...], parts: int) -> Array:
        """Return a tensor of which each element is 1 / parts."""
        return np.full(shape, 1.0 / parts)

    def add(self, a: Array, b: Array) -> Array:
        """Return a + b."""
        return a + b

    def mul(self, a: Array, b: Array) -> Array:
        """Return a * b."""
        return a * b

    def matmul(self, a: Array, b: Array) -> Array:
        """Return a @ b."""
        return a @ b

    def relu(self, a: Array) -> Array:
        """Return max(a, 0)."""
        return np.maximum(a, 0.0)

    def window_mean(self, windows: Array) -> Array:
        """Return the mean; padding counts."""
        return windows.mean(axis=-1)

    def window_max(self, windows: Array, inside: Array) -> Array:
        """Return the maximum of the inside values."""
        return np.where(inside, windows, -np.inf).max(axis=-1)

    def equal(self, a: Array, b: Array) -> bool:
        """Whether the values agree within the tolerance."""
        if a.shape != b.shape:
            return False
        scale = max(1.0, float(np.abs(a).max(initial=0.0)), float(np.abs(b).max(initial=0.0)))
        return bool(np.abs(a - b).max(initial=0.0) <= self.tolerance * scale)
