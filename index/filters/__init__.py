"""Conditions on payloads, from JSON to SQL."""
