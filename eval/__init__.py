"""Experiments: test collections, measures, and baselines to compare with."""
