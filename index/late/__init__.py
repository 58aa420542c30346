"""Late interaction: exact, flat, lists, FAISS, and the candidate loop."""
