"""COIL: tokens compared where their vocabulary ids are equal."""
