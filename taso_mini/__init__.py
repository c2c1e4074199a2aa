"""From a computation graph to a cheaper equal graph (Paper: TASO §2), and from a model to a fast function.

from taso_mini import compile, load

network = compile("model.onnx", trials=200)   # or a runtime.graph.Graph, or the name of a built-in network
y = network(x)                                # arrays of NumPy, PyTorch, …
network.save("compiled")
network = load("compiled")

Where to read, by the paper's sections:

- 2: `operator_set`, `terms`, `shapes`. 2.2: `algorithm1` as written, `generator` over terms, `enumeration` as arrays;
  `fingerprint`, `testing`.
- 3: `axioms`; `verifier` proves in the paper's way, `proving` in ours; `identity_testing` asks no axiom. 4: `pruning`,
  `common_subgraphs`, `derivation`. What comes out is in `rules`, written by `rules_text`.
- 5: `matching`, `substitution`; `plain_search` is Algorithm 2 as written, `optimizer` the one that is used; `layouts`.
- 6: `costs`, `models`.

Where this meets Ansor: `ansor_backend` prices operators, `compile_model` does the whole job, `joint` searches for graph
and loops together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from taso_mini.compile_model import compile, load

__all__ = ["compile", "load"]


def __getattr__(name: str) -> Any:
    """Import the whole job when it is asked for, since most modules here need little of it."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from taso_mini import compile_model

    return getattr(compile_model, name)
