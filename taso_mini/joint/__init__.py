"""Graph substitutions and loops searched together: kernel prices with their sources, the choice of a graph, the search.

Neither paper has this; it is what the two make possible together.
"""
