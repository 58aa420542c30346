"""Token vectors of a text: what an encoder is, and each family."""
