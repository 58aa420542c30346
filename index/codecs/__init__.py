"""How a token vector is kept as bytes, and what is learned for that."""
