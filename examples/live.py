"""A living collection: single writes, deferred embeddings, and segments.

    python examples/live.py

Needs the extras `demo` and `lexical`.
"""

import tempfile
from pathlib import Path

import plait

FACTS = [
    "Bread rises because yeast ferments the flour.",
    "The moon pulls the sea and makes the tides.",
    "Iron rusts when water and oxygen meet its surface.",
    "Bees thicken nectar into honey by fanning it with their wings.",
]

with tempfile.TemporaryDirectory() as folder:
    path = Path(folder, "facts")
    with plait.create(path, terms="bm25") as index:
        # A write returns the sequence number of its transaction. It is on the disk, and searches see it.
        for number, fact in enumerate(FACTS[:2]):
            written = index.upsert([{"id": f"f{number}", "text": fact}])
            print(f"f{number}: sequence number {written.seq}")

        # Encoding takes tens of milliseconds for a document. `defer=True` leaves it for later: BM25 finds the document
        # at once, late interaction does not.
        index.upsert([{"id": f"f{number}", "text": fact} for number, fact in enumerate(FACTS[2:], 2)], defer=True)
        print("pending:", len(index.pending))
        print("by terms: ", [hit.id for hit in index.search("honey", k=1, mode="terms")])
        print("by tokens:", [hit.id for hit in index.search("honey", k=1, mode="tokens")])

        # `encode_pending` computes what waits. A server does so in the background.
        index.encode_pending()
        print("pending:", len(index.pending))
        print("by tokens:", [hit.id for hit in index.search("honey", k=1, mode="tokens")])

        # Fresh documents lie in the catalog. `compact` moves them into an immutable segment; no score changes.
        before = index.search("sweet food of bees", k=4)
        index.collection.compact()
        after = index.search("sweet food of bees", k=4)
        print("same scores:", [hit.score for hit in before] == [hit.score for hit in after])
