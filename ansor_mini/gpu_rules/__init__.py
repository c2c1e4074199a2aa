"""The search space for GPUs: sketch rules, bindings to blocks and threads, sampling, mutation, hardware limits."""
