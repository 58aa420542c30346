"""What a server holds: open collections, batched texts, operations."""
