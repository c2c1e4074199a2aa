"""What a program is, and how it runs: expressions, loop nests, C, measurement, graphs, networks.

- A kernel is a nest of loops: `expr`, `loop_nest`, its text `loop_nest_text`. `verify_nest` says which nests are legal,
  `interpreter` runs one plainly.
- As C: `passes` prepare the nest, `emit_c` prints it (`c_text`), `compile_c` builds and calls it, `measure` times it.
- A network is a `graph` of `operators`, or an ONNX file (`onnx_import`). As kernel calls it is a `network`:
  `memory_plan` places its values, `executor` compiles it, `compiled_network` is called like a function, `standalone_c`
  writes it out.
- For a GPU: `gpu`, `emit_cuda`, `compile_cuda`, `measure_cuda`, `cuda_network`. Without one: `cuda_on_cpu` runs kernels
  under checks, `gpu_model` foretells their time.
"""
