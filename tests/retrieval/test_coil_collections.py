"""COIL and DupMAE checkpoints in collections: text in, the ranking by their formulas out,
taken apart and summed again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="extra encoders is not installed")
pytest.importorskip("transformers", reason="extra encoders is not installed")

import oracle  # noqa: E402
import sparse_checkpoints as tiny  # noqa: E402
from plait.index.errors import FailedPrecondition, InvalidArgument  # noqa: E402
from plait.index.reading.backup import create_snapshot, restore_snapshot  # noqa: E402
from plait.index.reading.check import check_collection  # noqa: E402
from plait.retrieval.encoders.load import load_encoder  # noqa: E402
from plait.retrieval.sparse.load import SparseCheckpoint  # noqa: E402

import plait  # noqa: E402

QUERY = "what is the red planet"
TEXTS = dict(zip("abcdef", tiny.TEXTS, strict=True))
WHOLE = {"cls_proj.weight": tiny.random(3, 12, 32), "cls_proj.bias": tiny.random(4, 12)}


def coil(folder: Path, whole: bool = True, seed: int = 1) -> Path:
    folder.mkdir(exist_ok=True)
    tiny.save(folder, tiny.plain().state_dict(), ["BertModel"])
    parts = {"tok_proj.weight": tiny.random(seed, 8, 32), "tok_proj.bias": tiny.random(2, 8)}
    torch.save(parts | (WHOLE if whole else {}), folder / "model.pt")
    return folder


def dupmae(folder: Path) -> Path:
    folder.mkdir()
    tiny.save_masked(folder, tiny.masked(), **WHOLE)
    return folder


def filled(path: Path, **settings: Any) -> plait.Retriever:
    """Two documents in bulk, two sealed, the rest fresh; every second one has n = 1."""
    retriever = plait.create(path, policy=None, fields=["n"], **settings)
    documents = [{"id": id, "text": text, "n": i % 2} for i, (id, text) in enumerate(TEXTS.items())]
    retriever.add(documents[:2])
    retriever.upsert(documents[2:4])
    retriever.collection.seal()
    retriever.upsert(documents[4:])
    return retriever


def coil_truth(folder: Path, ids: str = "abcdef") -> dict[str, float]:
    """By loops over the encoder's own vectors, in the float16 of the store."""
    encoder = load_encoder(str(folder), threads=1)
    documents, query = encoder.encode_documents([TEXTS[id] for id in ids]), encoder.encode_queries([QUERY])
    half = documents.with_vectors(documents.vectors.astype(np.float16))
    if half.globals_ is not None:
        half.globals_[:] = half.globals_.astype(np.float16)
    query = query.with_vectors(query.vectors.astype(np.float16))
    scores = {id: oracle.coil(query, half.take([i])) for i, id in enumerate(ids)}
    return {id: s for id, s in scores.items() if s is not None}


@pytest.mark.parametrize("whole", [True, False])
def test_coil_ranks_by_its_formula(tmp_path: Path, whole: bool) -> None:
    folder = coil(tmp_path / "checkpoint", whole)
    retriever, truth = filled(tmp_path / "c", encoder=str(folder)), coil_truth(folder)
    hits = retriever.search(QUERY)
    assert {h.id: h.score for h in hits} == pytest.approx(truth, rel=1e-5)
    assert [h.id for h in hits] == sorted(truth, key=lambda id: -truth[id])
    assert (retriever.info()["system"], retriever.info()["store"]) == ("coil", "contextual")
    assert retriever.collection.vector == (12 if whole else 0)
    ranking = [(h.id, h.score) for h in hits]
    assert [(h.id, h.score) for h in retriever.search(QUERY, exact=True)] == ranking
    some = [pair for pair in ranking if pair[0] in "bdf"]
    assert [(h.id, h.score) for h in retriever.search(QUERY, filter={"n": 1})] == some
    assert [(h.id, h.score) for h in retriever.search(QUERY, k=2)] == ranking[:2]
    retriever.collection.compact()
    assert [(h.id, h.score) for h in retriever.search(QUERY)] == ranking
    for hit in hits:
        why = hit.explain()
        assert why.score == hit.score
        total = sum(m.contribution for m in why.matches) + (why.vector_score or 0)
        assert total == pytest.approx(hit.score, rel=1e-5)
        assert all(m.contribution == max(m.similarity, 0) for m in why.matches)
        assert (why.vector_score is not None) == whole
        for match in why.matches:
            assert match.document is None or match.document.text.lower() == match.query.text.lower()


def test_coil_lives_through_everything(tmp_path: Path) -> None:
    folder = coil(tmp_path / "checkpoint")
    retriever = filled(tmp_path / "c", encoder=str(folder))
    retriever.delete(["a", "d"])
    retriever.upsert([{"id": "c", "text": TEXTS["c"]}])
    create_snapshot(tmp_path / "c", tmp_path / "backup")
    restore_snapshot(tmp_path / "backup", tmp_path / "restored")
    retriever.collection.compact()
    retriever.close()
    truth = coil_truth(folder, "bcef")
    for name in ("c", "restored"):
        assert check_collection(tmp_path / name) == []
        with plait.open(tmp_path / name, policy=None) as opened:
            assert {h.id: h.score for h in opened.search(QUERY)} == pytest.approx(truth, rel=1e-5)
            vectors = opened.search(QUERY, mode="vector")
            assert len(vectors) == 4
            for hit in vectors:
                why = opened.explain(QUERY, hit.id)
                assert why.vector_score == pytest.approx(hit.score, rel=1e-5)
                assert hit.explain().score == hit.score
    coil(folder, seed=9)
    with pytest.raises(FailedPrecondition, match="is not the one that this collection was built with"):
        plait.open(tmp_path / "c").search(QUERY)


def test_coil_beside_bm25(tmp_path: Path) -> None:
    pytest.importorskip("bm25s", reason="extra is not installed")
    folder = coil(tmp_path / "checkpoint")
    retriever = filled(tmp_path / "c", encoder=str(folder), terms="bm25")
    truth = coil_truth(folder)
    lexical = [h.id for h in retriever.search(QUERY, mode="terms")]
    reranked = retriever.search(QUERY, mode="rerank")
    assert {h.id: h.score for h in reranked} == pytest.approx({id: truth[id] for id in lexical}, rel=1e-5)
    tokens = sorted(truth, key=lambda id: -truth[id])
    fused = {id: 1 / (61 + tokens.index(id)) for id in tokens}
    for rank, id in enumerate(lexical):
        fused[id] += 1 / (61 + rank)
    assert {h.id: h.score for h in retriever.search(QUERY, mode="hybrid")} == pytest.approx(fused, rel=1e-5)


def test_what_coil_cannot_keep_is_refused(tmp_path: Path) -> None:
    folder = str(coil(tmp_path / "checkpoint"))
    settings: dict[str, Any]
    for settings, message in (
        ({"system": "colbert"}, "only comparable at equal ids"),
        ({"dim": 4}, "stored at full length"),
        ({"reduce": ["pool:2"]}, "merges tokens of different ids"),
        ({"vector": 5}, "makes one of 12"),
    ):
        with pytest.raises(InvalidArgument, match=message):
            plait.create(tmp_path / "c", encoder=folder, **settings)
    with pytest.raises(InvalidArgument, match="this encoder makes none"):
        plait.create(tmp_path / "c", encoder=str(coil(tmp_path / "tok", whole=False)), vector=True)
    retriever = filled(tmp_path / "c", encoder=folder)
    refused: list[tuple[dict[str, Any], str]] = [
        ({"mode": "hybrid"}, "holds no terms or vector beside tokens"),
        ({"mode": "sum"}, "holds no terms"),
        ({"target_recall": 0.9}, "target_recall"),
    ]
    for search, message in refused:
        with pytest.raises(InvalidArgument, match=message):
            retriever.search(QUERY, **search)
    with pytest.raises(InvalidArgument, match="coil"):
        retriever.calibrate()


def test_dupmae_adds_both_halves(tmp_path: Path) -> None:
    folder = dupmae(tmp_path / "checkpoint")
    retriever = filled(tmp_path / "c", encoder=None, terms=str(folder))
    encoder = tiny.load(folder)
    assert isinstance(encoder, SparseCheckpoint)
    terms, vectors = encoder.hybrid_documents(list(TEXTS.values()))
    asked, whole = encoder.hybrid_queries([QUERY])
    sparse = terms.rows.toarray().astype(float) @ asked.rows.toarray()[0]
    dense = vectors.astype(np.float16).astype(float) @ whole[0]
    truth = dict(zip(TEXTS, sparse + dense, strict=True))
    hits = retriever.search(QUERY)
    assert {h.id: h.score for h in hits} == pytest.approx(truth, rel=1e-4)
    assert [h.id for h in hits] == sorted(truth, key=lambda id: -truth[id])
    for hit in hits:
        why = hit.explain()
        assert why.score == hit.score and why.terms_score is not None and why.vector_score is not None
        assert sum(t.contribution for t in why.terms) + why.vector_score == pytest.approx(hit.score, rel=1e-5)
    for mode, scores in (("terms", sparse), ("vector", dense)):
        found = retriever.search(QUERY, mode=mode)
        assert {h.id: h.score for h in found} == pytest.approx(dict(zip(TEXTS, scores, strict=True)), rel=1e-4)
    order = {mode: [h.id for h in retriever.search(QUERY, mode=mode)] for mode in ("terms", "vector")}
    fused = {id: sum(1 / (61 + ranking.index(id)) for ranking in order.values()) for id in TEXTS}
    assert {h.id: h.score for h in retriever.search(QUERY, mode="hybrid")} == pytest.approx(fused, rel=1e-5)
    ranking = [(h.id, h.score) for h in hits]
    retriever.collection.compact()
    assert [(h.id, h.score) for h in retriever.search(QUERY)] == ranking
    retriever.close()
    assert [(h.id, h.score) for h in plait.open(tmp_path / "c").search(QUERY)] == ranking
    settings: dict[str, Any]
    for settings in ({"vector": 4, "encoder": None}, {"encoder": str(coil(tmp_path / "coil"))}):
        with pytest.raises(InvalidArgument, match="leave encoder and vector out"):
            plait.create(tmp_path / "d", terms=str(folder), **settings)
