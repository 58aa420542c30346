"""A collection on a server, through plait's own client: the calls are those of a collection that is here."""

import sys

import plait

with plait.connect(sys.argv[1]) as server:
    name = "example"
    index = server.open(name) if name in server.collections() else server.create(name, terms="bm25")
    written = index.upsert(
        [
            {"id": "a", "text": "Bread rises because yeast ferments the flour.", "year": 2020},
            {"id": "b", "text": "The moon pulls the sea and makes the tides.", "year": 2021},
        ]
    )
    for hit in index.search("why does bread rise", k=2, mode="hybrid", at_least_seq=written.seq):
        print(hit.id, round(hit.score, 4), hit.payload["year"])
    why = index.explain("why does bread rise", "b", k=1, mode="hybrid")
    for match in why.matches:
        print(match.query.text, "->", match.document and match.document.text, round(match.contribution, 3))
    for stage in why.stages:
        print(stage.name, "passed" if stage.passed else "fell out", "rank", stage.rank, "cutoff", stage.cutoff)
