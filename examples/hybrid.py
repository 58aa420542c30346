"""Hybrid search: late interaction and BM25 in one collection, fused by rank.

    python examples/hybrid.py

Needs the extras `demo` and `lexical`.
"""

import tempfile
from pathlib import Path

import plait

NOTES = [
    {"id": "manual", "text": "Error E-4071 means that the pump has lost its prime."},
    {"id": "forum", "text": "My pump makes noise but moves no water after the winter."},
    {"id": "filter", "text": "Clean the filter of the pump every month."},
    {"id": "tides", "text": "The moon pulls the sea and makes the tides."},
]

# `terms="bm25"` keeps the words of each document beside its token vectors.
with tempfile.TemporaryDirectory() as folder, plait.create(Path(folder, "pumps"), terms="bm25") as index:
    index.add(NOTES)

    # BM25 finds exact words: a number that no encoder has seen has its own entry in the index.
    print("terms: ", [hit.id for hit in index.search("E-4071", k=1, mode="terms")])

    # Late interaction finds meaning: no word of this question stands in the best document.
    question = "device is loud yet nothing flows"
    print("tokens:", [hit.id for hit in index.search(question, k=1, mode="tokens")])
    print("terms: ", [hit.id for hit in index.search(question, k=1, mode="terms")])

    # `hybrid` asks both lanes and fuses their rankings. Each lane adds weight / (60 + rank).
    hits = index.search("pump E-4071", k=2, mode="hybrid", lanes=("tokens", "terms"), weights=(1, 0.5))
    for hit in hits:
        print(f"hybrid: {hit.id} {hit.score:.4f}")

    # The contributions of the lanes sum to the score.
    for lane in hits[0].explain().lanes:
        print(f"  {lane.lane}: rank {lane.rank} adds {lane.contribution:.4f}")

    # `rerank` lets BM25 find the documents and late interaction order them.
    print("rerank:", [hit.id for hit in index.search("pump filter", k=2, mode="rerank")])
