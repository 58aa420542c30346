"""Measured recall, and the search parameters it chooses."""
