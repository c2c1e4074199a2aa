"""Proofs of substitutions: a search in an e-graph, conditions for all shapes, certificates that Z3 checks.

Paper: TASO §3. `prove(rule)` gives a `Verdict`; `Certifier` checks its proofs again.
"""

from taso_mini.proving.certificate import Certifier
from taso_mini.proving.prover import Proof, Prover, Verdict, prove

__all__ = ["Certifier", "Proof", "Prover", "Verdict", "prove"]
