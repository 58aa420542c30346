"""One file for each service of the protocol."""
