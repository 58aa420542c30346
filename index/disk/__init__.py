"""Files made whole or not at all, and copies of a collection."""
