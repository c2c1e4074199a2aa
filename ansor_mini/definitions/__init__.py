"""Graph operators as tensor expressions, by family."""
