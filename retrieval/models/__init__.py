"""The files of a checkpoint: folder, weights, vocabulary, padded forward."""
