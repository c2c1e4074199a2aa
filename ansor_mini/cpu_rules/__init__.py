"""Sketch rules beyond the paper, each one named transformation that the measured best kernels need."""
