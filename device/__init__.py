"""Late interaction on devices: torch and Triton, both optional (extras `encoders`, `gpu-cu12`, `gpu-cu13`)."""
