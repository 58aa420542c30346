"""Terms of a text: sparse encoders, and BM25's analyser."""
