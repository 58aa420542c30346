"""Snapshots of one state: search, explain, count, check, copy."""
