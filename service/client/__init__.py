"""A server's collections with the face of local ones."""
