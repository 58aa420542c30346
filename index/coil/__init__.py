"""COIL: tokens meet where their vocabulary ids are equal."""
