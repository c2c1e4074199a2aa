"""Data layouts: in which order the dimensions of every tensor are stored, chosen for a whole graph at once.

Paper: TASO §5. `orders` says what a layout is, `implementations` which layouts an operator can compute in, `candidates`
which ones are worth a thought, `assignment` picks the cheapest for every value of a graph, `realize` makes a graph that
runs in them, and `joint` searches over substitutions and layouts together.
"""
