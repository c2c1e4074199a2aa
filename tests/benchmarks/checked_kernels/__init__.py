"""Correct CUDA kernels in the manner of textbooks, and mistakes to be planted in them: what `cuda_checker` runs."""
