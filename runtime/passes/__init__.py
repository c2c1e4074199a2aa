"""LoopNest → LoopNest: what a nest goes through before it is printed as C."""
