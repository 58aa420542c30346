"""The collections of a server with the face of local ones."""
