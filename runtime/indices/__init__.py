"""Facts about integer index expressions: canonical forms, ranges, multiples."""
