"""The only doors to the native code, one for each family of kernels."""
