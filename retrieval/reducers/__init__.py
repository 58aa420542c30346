"""Tokens to fewer tokens: pooling, pruning, projection, and the recipe that names them."""
