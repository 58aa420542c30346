"""Builds, and what others computed: ColBERT indexes, CIFF, JSON vectors."""
