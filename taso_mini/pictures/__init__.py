"""Pictures of rules, graphs and searches: Mermaid and DOT as text, SVG without any other program, PNG by matplotlib.

A picture is a `drawing.Drawing`, boxes and arrows that know nothing of how they are written; `command.WRITERS` has the
formats. A count of rules by network is a `heat_map.HeatMap`, written as text, DOT, SVG or PNG.
"""
