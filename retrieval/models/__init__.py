"""A checkpoint's files: folder, weights, vocabulary, padded forward."""
