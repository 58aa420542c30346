"""Arrays in, arrays out: tokens, segments, stores, scoring. Needs NumPy and SciPy alone."""
