"""Experiments: test collections, measures, and baselines."""
