"""The mutations of programs for GPUs: tile sizes and unroll limits, by the published weights.

Paper: Ansor §4.3

Where a stage is computed and which loops run in parallel is not open on a GPU, so two of the four mutations are left.
The lengths of copied vectors and the numbers of threads of stages that are not tiled are tile sizes too.
"""

from __future__ import annotations

from ansor_mini.evolution import Mutation, mutate_tile_size, mutate_unroll
from ansor_mini.population_mutations import PopulationMutation, mutate_tile_sizes, mutate_unrolls

GPU_MUTATIONS: tuple[tuple[str, float, PopulationMutation], ...] = (
    ("tile-size", 0.90, mutate_tile_sizes),
    ("unroll", 0.10, mutate_unrolls),
)

# The same for one program at a time.
PLAIN_GPU_MUTATIONS: tuple[tuple[str, float, Mutation], ...] = (
    ("tile-size", 0.90, mutate_tile_size),
    ("unroll", 0.10, mutate_unroll),
)
