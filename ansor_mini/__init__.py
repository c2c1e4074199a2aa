"""From a tensor computation to a fast program (Paper: Ansor §2)."""
