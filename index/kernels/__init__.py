"""The only doors to the native code."""
