"""What a program is, and how it runs: expressions, loop nests, C, measurement, graphs, networks."""
