"""The wire to Python and back, one file for each kind."""
