"""What commands share: options, console, progress."""
