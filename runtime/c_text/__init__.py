"""C as text: expressions, statements, and the helpers they use."""
