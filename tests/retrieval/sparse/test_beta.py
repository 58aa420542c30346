"""SVDR's semi-parametric search against its formulas: found by ids, ranked again by embeddings made on the fly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="extra encoders is not installed")
pytest.importorskip("transformers", reason="extra encoders is not installed")

import sparse_checkpoints as tiny  # noqa: E402
from plait.index.errors import FailedPrecondition, InvalidArgument  # noqa: E402

import plait  # noqa: E402

QUERY = "what is the red planet"
TEXTS = dict(zip("abcdef", tiny.TEXTS, strict=True))
FIRST = 20


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "svdr"
    weights: dict[str, Any] = {}
    path.mkdir()
    for seed, name in enumerate(("encoder_q", "encoder_p")):
        weights |= tiny.under(f"{name}.bert_model.", tiny.plain(seed))
        weights |= {f"{name}.ln.weight": tiny.random(seed, 32), f"{name}.ln.bias": tiny.random(seed + 9, 32)}
    config = {"type": "vdr", "max_len": 40, "pooling": "max", "shift_vocab_num": FIRST, "topk": 40, **tiny.SIZES}
    tiny.save(path, weights, ["Retriever"], encoder_q=config, encoder_p=config)
    return path


def filled(path: Path, folder: Path) -> plait.Retriever:
    """Two documents in bulk, two sealed, the rest fresh."""
    retriever = plait.create(path, encoder=None, terms=f"beta:{folder}", policy=None)
    documents = [{"id": id, "text": text} for id, text in TEXTS.items()]
    retriever.add(documents[:2])
    retriever.upsert(documents[2:4])
    retriever.collection.seal()
    retriever.upsert(documents[4:])
    return retriever


def truth(folder: Path) -> tuple[dict[str, float], dict[str, float]]:
    """Scores by ids, of those that share one with the query, and by embeddings, of all."""
    encoder = tiny.load(folder)
    query = encoder.encode_queries([QUERY]).rows.toarray()[0].astype(float)
    ids = [{i for i in tiny.line(text, 128) if i >= FIRST} for text in TEXTS.values()]
    beta = {
        d: float(sum(query[i] for i in own)) for d, own in zip(TEXTS, ids, strict=True) if any(query[i] for i in own)
    }
    embedded = encoder.encode_documents(list(TEXTS.values())).rows.toarray().astype(float) @ query
    return beta, dict(zip(TEXTS, embedded, strict=True))


def best(scores: dict[str, float], k: int) -> list[str]:
    return sorted(scores, key=lambda d: -scores[d])[:k]


def test_documents_are_found_by_their_ids_and_ranked_by_their_embeddings(folder: Path, tmp_path: Path) -> None:
    retriever, (beta, embedded) = filled(tmp_path / "c", folder), truth(folder)
    assert len(beta) > 3 and best(beta, 3) != best(embedded, 3)
    for opened in (retriever, plait.open(tmp_path / "c")):
        hits = opened.search(QUERY)
        assert [h.id for h in hits] == best(beta, 10)
        np.testing.assert_allclose([h.score for h in hits], [beta[h.id] for h in hits], rtol=1e-4)
        for k, depth in ((2, 3), (3, 3), (2, 100), (10, 1)):
            found = {d: embedded[d] for d in best(beta, max(k, depth))}
            hits = opened.search(QUERY, k, mode="rerank", depth=depth)
            assert [h.id for h in hits] == best(found, k)
            np.testing.assert_allclose([h.score for h in hits], [found[h.id] for h in hits], rtol=1e-4)
    retriever.collection.compact()
    assert [h.id for h in retriever.search(QUERY, 3, mode="rerank")] == best({d: embedded[d] for d in beta}, 3)


def test_an_explanation_is_of_the_embeddings_and_names_the_stages(folder: Path, tmp_path: Path) -> None:
    retriever, (beta, embedded) = filled(tmp_path / "c", folder), truth(folder)
    for id in beta:
        why = retriever.explain(QUERY, id, k=1, mode="rerank", depth=2)
        assert why.score == pytest.approx(embedded[id], rel=1e-4)
        assert why.score == pytest.approx(sum(t.contribution for t in why.terms), rel=1e-5)
        found = id in best(beta, 2)
        assert [s.name for s in why.stages] == (["terms", "rerank"] if found else ["terms"])
        assert all(s.passed for s in why.stages) == (
            found and id == best({d: embedded[d] for d in best(beta, 2)}, 1)[0]
        )
    (first,) = retriever.search(QUERY, 1, mode="rerank")
    assert first.explain().score == pytest.approx(first.score, rel=1e-5)


def test_another_checkpoint_is_noticed(folder: Path, tmp_path: Path) -> None:
    filled(tmp_path / "c", folder).close()
    config = folder / "config.json"
    config.write_text(config.read_text().replace('"topk": 40', '"topk": 39'))
    with pytest.raises(FailedPrecondition, match="is not the one that this collection was built with"):
        plait.open(tmp_path / "c").search(QUERY)


def test_terms_that_are_not_embedded_are_not_ranked_again(tmp_path: Path) -> None:
    retriever = plait.create(tmp_path / "c", encoder=None, terms="binary")
    retriever.add([{"id": "a", "text": "the red planet mars"}])
    with pytest.raises((FailedPrecondition, InvalidArgument), match="token vectors"):
        retriever.search(QUERY, mode="rerank")
