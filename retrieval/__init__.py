"""Text and models in, ranked documents out."""
