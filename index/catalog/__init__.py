"""What a collection holds, in SQLite, and who may write it."""
