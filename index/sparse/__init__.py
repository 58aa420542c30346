"""Terms: postings, BM25 and sparse MaxSim."""
