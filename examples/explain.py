"""Explanations: which tokens made a document match, and why another one is missing.

    python examples/explain.py

Needs the extra `demo`.
"""

import math
import tempfile
from pathlib import Path

import plait

NOTES = [
    {"id": "bread", "text": "Bread rises because yeast ferments the flour."},
    {"id": "beer", "text": "Brewers add yeast to wort, and it turns sugar into alcohol."},
    {"id": "tides", "text": "The moon pulls the sea and makes the tides."},
]
QUESTION = "why does bread rise"

with tempfile.TemporaryDirectory() as folder, plait.create(Path(folder, "notes")) as index:
    index.add(NOTES)
    best = index.search(QUESTION, k=1)[0]
    why = best.explain()

    # Each query token names the document token that it met, and what that adds to the score.
    for match in why.matches:
        met = match.document.text if match.document else "(nothing)"
        print(f"{match.query.text:<8} {met:<10} {match.contribution:.3f}")

    # The contributions sum to the score: added in float64, in the order of the query's tokens.
    print("sum equals score:", math.isclose(sum(match.contribution for match in why.matches), why.score, rel_tol=1e-6))

    # A token knows which characters of the text it covers, so a result page can mark them.
    strongest = max(why.matches, key=lambda match: match.contribution)
    (start, end), *_ = strongest.document.spans if strongest.document else [(0, 0)]
    print("strongest:", why.text[:start] + "[" + why.text[start:end] + "]" + why.text[end:])

    # `explain` also takes a document that the search does not return. `k` asks for its way through that search.
    missing = index.explain(QUESTION, "beer", k=1)
    print(missing.verdict)
    for stage in missing.stages:
        print(f"{stage.name}: rank {stage.rank}, {'passed' if stage.passed else 'left out'}")
