"""One global vector for each document."""
