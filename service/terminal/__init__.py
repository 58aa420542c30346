"""What commands share: options, console, progress, and collections opened or made."""
