"""What needs a GPU, or rehearses on the stand-in where there is none: `python -m tests.gpu.run`."""
