"""Enumerate every small graph over an operator set, as arrays: values first, sets last (Paper: TASO §2.2)."""
