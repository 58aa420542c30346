"""Segments: immutable files of documents, their manifest, and fresh documents before they become one."""
