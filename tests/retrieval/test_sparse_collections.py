"""Sparse checkpoints in collections: text in, the ranking of the encoder's own rows by brute force out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="extra encoders is not installed")
pytest.importorskip("transformers", reason="extra encoders is not installed")

import sparse_checkpoints as tiny  # noqa: E402
from plait.index.errors import FailedPrecondition  # noqa: E402
from plait.index.kernels.terms import sparse_maxsim  # noqa: E402
from plait.index.term_rows import from_terms  # noqa: E402

import plait  # noqa: E402

QUERY = "what is the red planet"
TEXTS = dict(zip("abcdef", tiny.TEXTS, strict=True))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "checkpoint"
    tiny.masked().save_pretrained(path)
    tiny.tokenizer(path)
    return path


def filled(path: Path, terms: str) -> plait.Retriever:
    """Two documents in bulk, two sealed, the rest fresh."""
    retriever = plait.create(path, encoder=None, terms=terms, policy=None)
    documents = [{"id": id, "text": text} for id, text in TEXTS.items()]
    retriever.add(documents[:2])
    retriever.upsert(documents[2:4])
    retriever.collection.seal()
    retriever.upsert(documents[4:])
    return retriever


def ranked(scores: np.ndarray) -> dict[str, float]:
    return {id: float(s) for id, s in zip(TEXTS, scores, strict=True) if s > 0}


def test_splade_ranks_by_dot_products(folder: Path, tmp_path: Path) -> None:
    retriever, encoder = filled(tmp_path / "c", str(folder)), tiny.load(folder)
    documents = encoder.encode_documents(list(TEXTS.values())).rows.toarray().astype(float)
    query = encoder.encode_queries([QUERY]).rows.toarray().astype(float)
    hits = retriever.search(QUERY)
    assert {h.id: h.score for h in hits} == pytest.approx(ranked((documents @ query.T)[:, 0]), rel=1e-4)
    assert len(hits) > 2 and [h.score for h in hits] == sorted((h.score for h in hits), reverse=True)
    why = hits[0].explain()
    assert why.score == hits[0].score and {t.term for t in why.terms} <= set(tiny.VOCABULARY)


def test_slim_ranks_by_sparse_maxsim(folder: Path, tmp_path: Path) -> None:
    retriever = filled(tmp_path / "c", f"slim:{folder}")
    encoder = tiny.load(folder, family="slim")
    documents, query = encoder.encode_documents(list(TEXTS.values())), encoder.encode_queries([QUERY])
    truth = ranked(sparse_maxsim(from_terms(query), from_terms(documents))[0])
    hits = retriever.search(QUERY)
    assert {h.id: h.score for h in hits} == pytest.approx(truth, rel=1e-4) and len(hits) > 2
    retriever.collection.compact()
    assert [(h.id, h.score) for h in retriever.search(QUERY)] == [(h.id, h.score) for h in hits]


def test_the_binary_index_needs_no_model(tmp_path: Path) -> None:
    retriever = plait.create(tmp_path / "c", encoder=None, terms="binary")
    retriever.add([{"id": "a", "text": "the red planet mars"}, {"id": "b", "text": "rings of saturn"}])
    assert [(h.id, h.score) for h in retriever.search("mars is a red world")] == [("a", 2.0)]


def test_another_checkpoint_is_noticed(folder: Path, tmp_path: Path) -> None:
    filled(tmp_path / "c", str(folder)).close()
    tiny.masked(seed=8).save_pretrained(folder)
    with pytest.raises(FailedPrecondition, match="is not the one that this collection was built with"):
        plait.open(tmp_path / "c").search(QUERY)


def test_lengths_are_the_terms_too(folder: Path, tmp_path: Path) -> None:
    options = plait.EncoderOptions(query_length=4, document_length=6)
    retriever = plait.create(tmp_path / "c", encoder=None, terms=str(folder), options=options)
    retriever.add([{"id": id, "text": text} for id, text in TEXTS.items()])
    encoder = tiny.load(folder, query_length=4, document_length=6)
    documents = encoder.encode_documents(list(TEXTS.values())).rows.toarray().astype(float)
    truth = ranked(documents @ encoder.encode_queries([QUERY]).rows.toarray()[0])
    for opened in (retriever, plait.open(tmp_path / "c")):
        assert {h.id: h.score for h in opened.search(QUERY)} == pytest.approx(truth, rel=1e-4)
