"""From a tensor computation to a fast program (Paper: Ansor §2).

Where to read, by the paper's sections:

- 2: `tensor_expression` declares a computation, `compute_dag` holds it. 3: `partition` makes kernels of a graph,
  `operators` declares them, `tuner` and `task_tuner` search for a program of each.
- 4: `schedule` and its `steps`, `lowering` to loops. 4.1: `sketch`, `sketch_rules`, `dag_analysis`; beyond the paper
  `cpu_rules`. 4.2: `holes`, `annotation`, `layout_rewrite`. 4.3: `gpu_rules`.
- 5.1: `evolution` of one program after the other; `population` and the rooms named after it do the same for thousands
  at once. 5.2: `cost_model`, `learned_model`, `boosted_trees`, `features`; `feature_arrays` has those of thousands.
- 6: `task_scheduler`, `objectives`, `network_tuner`. 7: `workloads`, `ablations`, `beam_search`.

Beside them, `records` keep what was measured, `default_schedule` needs no search, `network` puts kernels together, and
`in_place` chooses among them there.
"""
