"""Bulk and live writes, sealing and merging."""
