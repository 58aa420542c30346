"""The wiring: one process or several, and health."""
