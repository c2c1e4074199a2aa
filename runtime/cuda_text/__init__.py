"""CUDA as text: what kernels are printed from, and the functions they call."""
