"""Immutable files of documents, and fresh documents before they become one."""
