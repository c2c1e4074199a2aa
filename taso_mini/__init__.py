"""From a computation graph to a cheaper equal graph (Paper: TASO §2)."""
