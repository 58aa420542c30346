"""Tokens to fewer tokens: pooling, pruning, projection."""
