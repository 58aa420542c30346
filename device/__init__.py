"""Late interaction on a GPU, by torch and Triton; optional."""
