"""The graph operators by family: shape rule, NumPy reference and flop count of each."""
