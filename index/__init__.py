"""Arrays in, arrays out: no text, no model, no wire."""
