"""Sparse families against tiny models run by hand: the paper's formula in numpy, one text at a time."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="extra encoders is not installed")
pytest.importorskip("sentence_transformers", reason="extra encoders is not installed")

import sparse_checkpoints as tiny  # noqa: E402
from plait.index.errors import InvalidArgument  # noqa: E402
from plait.index.kernels.terms import sparse_maxsim  # noqa: E402
from plait.index.sparse.postings import maxima  # noqa: E402
from plait.index.sparse.query import BETA, fused  # noqa: E402
from plait.index.term_rows import from_terms  # noqa: E402
from plait.index.terms import check  # noqa: E402
from plait.retrieval.encoders.encoder import EncoderOptions  # noqa: E402
from plait.retrieval.encoders.load import load_encoder  # noqa: E402
from plait.retrieval.sparse.encoder import BINARY, SparseOptions  # noqa: E402
from plait.retrieval.sparse.load import SparseCheckpoint, detect_sparse, load_sparse_encoder  # noqa: E402
from sparse_checkpoints import CLOSE, IDS, KEYS, TEXTS, by_hand, line, load  # noqa: E402


def relu1p(values: np.ndarray) -> np.ndarray:
    return np.log1p(np.maximum(values, 0))


def kept(values: np.ndarray, top: int) -> np.ndarray:
    return np.where(values >= np.sort(values)[-top], values, 0)


def pooled(ids: list[int], weights: np.ndarray, reduce: Any) -> np.ndarray:
    row = np.zeros(KEYS)
    for i, weight in zip(ids, weights, strict=True):
        row[i] = reduce(row[i], weight)
    return row


def same(terms: Any, expected: np.ndarray) -> None:
    assert check(terms).rows.dtype == np.float32
    np.testing.assert_allclose(terms.rows.toarray(), expected, **CLOSE)


def test_splade_is_the_maximum_or_sum_over_the_texts_own_positions(tmp_path: Path) -> None:
    model = tiny.masked()
    tiny.save_masked(tmp_path, model)
    for pooling, reduce in (("max", np.max), ("sum", np.sum)):
        encoder = load(tmp_path, pooling=pooling)
        expected = by_hand(lambda text, reduce=reduce: reduce(relu1p(tiny.logits(model, line(text))), axis=0))
        same(encoder.encode_documents(TEXTS), expected)
        same(encoder.encode_queries(TEXTS), expected)
    assert (encoder.spec.family, encoder.spec.vocabulary) == ("splade", KEYS)
    assert encoder.names([IDS["mars"], KEYS + 5]) == ["mars", f"[{KEYS + 5}]"]
    top = load(tmp_path, top=3).encode_documents(TEXTS).rows
    assert (np.diff(top.indptr) == 3).all()


def test_splade_doc_queries_weigh_each_id_1(tmp_path: Path) -> None:
    tiny.save_masked(tmp_path, tiny.masked())
    encoder = load(tmp_path, family="splade-doc")
    queries = encoder.encode_queries(TEXTS).rows.toarray()
    for text, row in zip(TEXTS, queries, strict=True):
        assert set(np.flatnonzero(row)) == {i for i in line(text) if i > tiny.MASK}
    assert set(np.unique(queries)) == {0, 1}
    same(encoder.encode_documents(TEXTS[:2]), load(tmp_path).encode_documents(TEXTS[:2]).rows.toarray())


def test_efficient_splade_has_a_query_model_of_its_own(tmp_path: Path) -> None:
    model, other = tiny.masked(), tiny.masked(8)
    tiny.save_masked(tmp_path, model)
    tiny.save_masked(tmp_path / "query", other)
    encoder = load(tmp_path, query_checkpoint=str(tmp_path / "query"))
    same(encoder.encode_queries(TEXTS[:1]), relu1p(tiny.logits(other, line(TEXTS[0]))).max(axis=0)[None])
    same(encoder.encode_documents(TEXTS[:1]), relu1p(tiny.logits(model, line(TEXTS[0]))).max(axis=0)[None])
    assert encoder.spec.fingerprint != load(tmp_path).spec.fingerprint


def test_slim_keeps_token_rows_and_bounds_hold(tmp_path: Path) -> None:
    model = tiny.masked()
    tiny.save_masked(tmp_path, model)
    encoder = load(tmp_path, family="slim", top=5)
    documents, queries = encoder.encode_documents(TEXTS), encoder.encode_queries(TEXTS)
    rows = [np.array([kept(relu1p(row), 5) for row in tiny.logits(model, line(text))[1:]]) for text in TEXTS]
    assert documents.offsets is not None
    assert np.diff(documents.offsets).tolist() == [len(row) for row in rows]
    same(documents, np.concatenate(rows))
    stored, asked = from_terms(documents), from_terms(queries)
    impacts = np.array([row.max(axis=0) for row in rows])
    same(maxima(stored).terms(impacts.shape[1]), impacts)
    first = [row * (row == row.max(axis=1, keepdims=True)) for row in rows]
    lower, upper = (np.array([row.sum(axis=0) for row in some]) for some in (first, rows))
    for number, row in enumerate(rows):
        keys, gains, losses = fused(asked.take([number]), BETA)
        np.testing.assert_allclose(gains, (0.99 * upper + 0.01 * lower)[number, keys], rtol=1e-4)
        assert not losses.any()
        exact, _ = sparse_maxsim(asked.take([number]), stored)
        expected = [sum((token @ document.T).max() for token in row) for document in rows]
        np.testing.assert_allclose(exact, expected, rtol=1e-4)
        assert (impacts @ lower[number] <= exact + 1e-3).all() and (exact <= impacts @ upper[number] + 1e-3).all()


@pytest.mark.parametrize("prefix", ["coil_encoder.", ""])
def test_unicoil(tmp_path: Path, prefix: str) -> None:
    model, matrix, bias = tiny.plain(), tiny.random(1, 1, 32), tiny.random(2, 1)
    head = {f"{prefix}tok_proj.weight": matrix, f"{prefix}tok_proj.bias": bias}
    tiny.save(tmp_path, {**tiny.under(f"{prefix}bert.", model), **head}, ["UniCoilEncoder"])
    encoder = load(tmp_path)

    def weights(text: str, reduce: Any) -> np.ndarray:
        ids = line(text)
        values = np.maximum(tiny.hidden(model, ids) @ matrix.numpy()[0] + bias.item(), 0)
        return pooled(ids[1:], values[1:], reduce)

    assert encoder.spec.family == "unicoil"
    same(encoder.encode_documents(TEXTS), by_hand(lambda text: weights(text, max)))
    same(encoder.encode_queries(TEXTS), by_hand(lambda text: weights(text, np.add)))


def tildev2(folder: Path) -> tuple[Any, Any]:
    model, matrix = tiny.plain(), tiny.random(1, 1, 32)
    head = {"tok_proj.weight": matrix, "tok_proj.bias": torch.ones(1)}
    tiny.save(folder, {**tiny.under("bert.", model), **head}, ["TILDEv2"])
    return model, matrix.numpy()[0]


STOPPED = {IDS[w] for w in ("the", "is", "a", "##s", "[SEP]", "[CLS]", "[UNK]", ".", ",", "(", ")")}


def test_tildev2_weighs_words_but_no_stop_words(tmp_path: Path) -> None:
    model, vector = tildev2(tmp_path)
    encoder = load(tmp_path, document_length=64)

    def document(text: str) -> np.ndarray:
        ids = line(text)
        row = pooled(ids, np.maximum(tiny.hidden(model, ids) @ vector + 1, 0), max)
        row[list(STOPPED)] = 0
        return row

    texts = [text for text in TEXTS if "[" not in text]
    same(encoder.encode_documents(texts), by_hand(document, texts))
    queries = encoder.encode_queries(["the planet is a planet", "the is the", ""]).rows.toarray()
    assert {i: queries[0, i] for i in np.flatnonzero(queries[0])} == {IDS["planet"]: 2}
    # A query of stop words alone keeps them.
    assert {i: queries[1, i] for i in np.flatnonzero(queries[1])} == {IDS["the"]: 2, IDS["is"]: 1}
    assert not queries[2].any()


def test_tilde_expands_documents(tmp_path: Path) -> None:
    model, vector = tildev2(tmp_path)
    expander = tiny.masked(3)
    tiny.save_masked(tmp_path / "tilde", expander)
    text, m = "mars rings red", 9
    passage = line(text)
    likely = np.argsort(-tiny.logits(expander, [tiny.PASSAGE, *passage[1:]])[0])[:m].tolist()
    signs = {i for piece, i in IDS.items() if not piece.replace("#", "").isalnum()}
    more = [i for i in likely if i not in {*STOPPED, *passage, *signs, IDS["definition"], IDS["what"]}]
    more = [i for i in more if tiny.VOCABULARY[i] not in "domsty"]
    assert more
    ids = [*passage, *more, tiny.SEP]
    expected = pooled(ids, np.maximum(tiny.hidden(model, ids) @ vector + 1, 0), max)
    expected[list(STOPPED)] = 0
    encoder = load(tmp_path, expander=str(tmp_path / "tilde"), expansions=m)
    same(encoder.encode_documents([text]), expected[None])


def svdr(folder: Path, **sides: Any) -> dict[str, Any]:
    weights: dict[str, Any] = {}
    for seed, (name, model) in enumerate(sides.items()):
        weights |= tiny.under(f"{name}.bert_model.", model)
        weights |= {f"{name}.ln.weight": tiny.random(seed, 32), f"{name}.ln.bias": tiny.random(seed + 9, 32)}
    config = {"type": "vdr", "max_len": 40, "pooling": "max", "shift_vocab_num": 20, "topk": 6, **tiny.SIZES}
    tiny.save(folder, weights, ["Retriever"], **dict.fromkeys(sides, config))
    return weights


def test_svdr_keeps_the_largest_over_original_ids(tmp_path: Path) -> None:
    sides = {"encoder_q": tiny.plain(1), "encoder_p": tiny.plain(2)}
    weights = svdr(tmp_path, **sides)
    encoder = load(tmp_path)
    assert (encoder.spec.family, encoder.spec.document_length) == ("svdr", 40)

    def vector(text: str, name: str) -> np.ndarray:
        ids = line(text, 40)
        rows = tiny.hidden(sides[name], ids)
        rows = (rows - rows.mean(axis=1, keepdims=True)) / np.sqrt(rows.var(axis=1, keepdims=True) + 1e-5)
        rows = rows * weights[f"{name}.ln.weight"].numpy() + weights[f"{name}.ln.bias"].numpy()
        values = rows @ weights[f"{name}.bert_model.embeddings.word_embeddings.weight"].numpy()[20:].T
        best = np.where(values > 0, values + 1, np.exp(np.minimum(values, 0))).max(axis=0)
        return np.concatenate([np.zeros(20), kept(best, 6)])

    same(encoder.encode_documents(TEXTS), by_hand(lambda text: vector(text, "encoder_p")))
    same(encoder.encode_queries(TEXTS), by_hand(lambda text: vector(text, "encoder_q")))


def test_dupmae_has_a_vector_beside_its_words(tmp_path: Path) -> None:
    model, matrix = tiny.masked(), tiny.random(1, 16, 32)
    tiny.save_masked(tmp_path, model, **{"cls_proj.weight": matrix})
    encoder = load(tmp_path, top=7)
    assert isinstance(encoder, SparseCheckpoint) and encoder.spec.family == "dupmae"
    cut = [line(text) for text in TEXTS]
    words = np.array([tiny.logits(model, ids)[1:].max(axis=0) for ids in cut])
    vectors = np.array([tiny.hidden(model.bert, ids)[0] @ matrix.numpy().T for ids in cut])
    for hybrid, expected in (
        (encoder.hybrid_queries(TEXTS), words),
        (encoder.hybrid_documents(TEXTS), np.array([kept(row, 7) for row in words])),
    ):
        same(hybrid[0], expected)
        np.testing.assert_allclose(hybrid[1], vectors, rtol=0, atol=2e-4)
    assert encoder.hybrid_queries([])[1].shape == (0, 16)


def test_binary_needs_no_model() -> None:
    encoder = load_sparse_encoder(BINARY, SparseOptions(document_length=6))
    texts = ["Mars, the red planet and mars again", "", "[SEP]"]
    rows = encoder.encode_documents(texts).rows
    assert set(rows.data) == {1} and encoder.spec.vocabulary == 30522
    assert sorted(encoder.names(rows.indices[: rows.indptr[1]])) == [",", "mars", "red", "the"]
    assert rows.indptr[2] == rows.indptr[1]
    assert encoder.encode_documents([]).rows.shape == (0, 30522)


def coil(folder: Path, **extra: Any) -> Any:
    model = tiny.plain()
    tiny.save(folder, model.state_dict(), ["BertModel"])
    torch.save(extra, folder / "model.pt")
    return model


def test_coil_gives_token_vectors_and_one_for_the_whole_text(tmp_path: Path) -> None:
    parts = {"tok_proj.weight": tiny.random(1, 8, 32), "tok_proj.bias": tiny.random(2, 8)}
    whole = {"cls_proj.weight": tiny.random(3, 12, 32), "cls_proj.bias": tiny.random(4, 12)}
    model = coil(tmp_path, **parts, **whole)
    encoder = load_encoder(str(tmp_path), EncoderOptions(), threads=1)
    tokens = encoder.encode_documents(TEXTS[:5])
    assert tokens.ids is not None and tokens.globals_ is not None and tokens.spans is not None
    for number, text in enumerate(TEXTS[:4]):
        rows, ids = tokens.rows(number), line(text)
        hidden = tiny.hidden(model, ids)
        expected = hidden @ parts["tok_proj.weight"].numpy().T + parts["tok_proj.bias"].numpy()
        assert tokens.ids[rows].tolist() == ids[1:]
        np.testing.assert_allclose(tokens.vectors[rows], expected[1:], rtol=0, atol=2e-4)
        first = hidden[0] @ whole["cls_proj.weight"].numpy().T + whole["cls_proj.bias"].numpy()
        np.testing.assert_allclose(tokens.globals_[number], first, rtol=0, atol=2e-4)
    assert TEXTS[0][slice(*tokens.spans[3])] == "PLANET"
    assert encoder.spec.family == "coil" and encoder.spec.dim == 8
    assert len(encoder.encode_queries([])) == 0 and encoder.tokenize(TEXTS).dim == 0
    with pytest.raises(InvalidArgument, match="load_encoder"):
        load(tmp_path)


def test_coil_without_its_projection_is_refused(tmp_path: Path) -> None:
    coil(tmp_path, **{"cls_proj.weight": torch.zeros(2, 32)})
    with pytest.raises(InvalidArgument, match=r"tok_proj\.weight is missing"):
        load_encoder(str(tmp_path))


def modules(folder: Path, *, static: bool) -> Any:
    from sentence_transformers import SparseEncoder
    from sentence_transformers.base.modules import Router, Transformer
    from sentence_transformers.sparse_encoder.modules import SparseStaticEmbedding, SpladePooling

    tiny.save_masked(folder / "plain", tiny.masked())
    transformer: Any = Transformer(str(folder / "plain"), transformer_task="fill-mask")
    made: list[Any] = [transformer, SpladePooling("sum")]
    if static:
        side = SparseStaticEmbedding(transformer.tokenizer, weight=torch.arange(KEYS).float() / 7)
        made = [Router.for_query_document([side], made)]
    SparseEncoder(modules=made, device="cpu").save(str(folder / "st"), create_model_card=False)


@pytest.mark.parametrize(("static", "budget"), [(False, 1024), (True, 1024), (False, 40), (True, 40)])
def test_sentence_transformers_folders(
    tmp_path: Path, static: bool, budget: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("plait.retrieval.sparse.sparse_modules._BUDGET", budget)
    modules(tmp_path, static=static)
    encoder, model = load(tmp_path / "st"), tiny.masked()
    assert encoder.spec.family == "sentence-transformers"
    texts = [text for text in TEXTS if "[" not in text]

    def splade(text: str) -> np.ndarray:
        ids = line(text)
        return relu1p(tiny.logits(model, ids)).sum(axis=0)

    def weights(text: str) -> np.ndarray:
        row = np.zeros(KEYS)
        row[line(text, 66)[1:-1]] = 1
        return row * np.arange(KEYS) / 7

    np.testing.assert_allclose(
        encoder.encode_documents(texts).rows.toarray(), by_hand(splade, texts), rtol=1e-4, atol=1e-3
    )
    queries = encoder.encode_queries(texts).rows.toarray()
    np.testing.assert_allclose(queries, by_hand(weights if static else splade, texts), rtol=1e-4, atol=1e-3)
    assert encoder.encode_queries([""]).rows.shape == (1, KEYS) and len(encoder.encode_documents([])) == 0
    assert encoder.names([IDS["mars"]]) == ["mars"]


@pytest.mark.parametrize("family", ["splade", "slim", "unicoil", "svdr", "dupmae"])
def test_no_value_depends_on_the_batch(tmp_path: Path, family: str) -> None:
    if family == "unicoil":
        head = {"tok_proj.weight": tiny.random(1, 1, 32), "tok_proj.bias": torch.ones(1)}
        tiny.save(tmp_path, {**tiny.under("coil_encoder.bert.", tiny.plain()), **head}, ["UniCoilEncoder"])
    elif family == "svdr":
        svdr(tmp_path, encoder_p=tiny.plain())
    else:
        more = {"cls_proj.weight": tiny.random(1, 4, 32)} if family == "dupmae" else {}
        tiny.save_masked(tmp_path, tiny.masked(), **more)
    encoder = load(tmp_path, family=family)
    together = encoder.encode_documents(TEXTS)
    turned = encoder.encode_documents(TEXTS[::-1])
    for number, text in enumerate(TEXTS):
        alone = encoder.encode_documents([text]).rows.toarray()
        same(together.take([number]), alone)
        same(turned.take([len(TEXTS) - 1 - number]), alone)
    assert len(encoder.encode_documents([])) == 0 and encoder.encode_queries([]).keys == KEYS


def test_what_lacks_its_head_is_refused(tmp_path: Path) -> None:
    tiny.save(tmp_path / "mlm", tiny.under("bert.", tiny.plain()), ["BertForMaskedLM"])
    tiny.save(tmp_path / "bert", tiny.plain().state_dict(), ["BertModel"])
    tiny.save(tmp_path / "coil", tiny.under("coil_encoder.bert.", tiny.plain()), ["UniCoilEncoder"])
    wide = {**tiny.under("bert.", tiny.plain()), "tok_proj.weight": torch.zeros(32, 32)}
    tiny.save(tmp_path / "wide", wide, ["TILDEv2"])
    tiny.save(tmp_path / "svdr", tiny.under("encoder_p.bert_model.", tiny.plain()), [], encoder_p=tiny.SIZES)
    tiny.save_masked(tmp_path / "splade", tiny.masked())
    for folder, options, message in (
        ("mlm", {}, "lacks cls.predictions"),
        ("bert", {}, "no sparse family"),
        ("coil", {}, r"lacks tok_proj\.weight"),
        ("wide", {}, "32 values per token"),
        ("svdr", {}, r"lacks encoder_p\.ln"),
        ("splade", {"family": "dupmae"}, r"cls_proj\.weight is missing"),
        ("splade", {"expander": "x"}, "splade has no such option"),
        ("splade", {"family": "colbert"}, "no sparse family is called"),
        ("splade", {"top": 0}, "top is 0"),
        ("splade", {"pooling": "mean"}, "'max' or 'sum'"),
    ):
        with pytest.raises(InvalidArgument, match=message):
            load(tmp_path / folder, **options)


def test_pickled_code_is_not_run(tmp_path: Path) -> None:
    tiny.save(tmp_path, tiny.under("bert.", tiny.plain()), ["TILDEv2"])
    (tmp_path / "model.safetensors").unlink()
    torch.save({"tok_proj.weight": Path("any object that is no tensor")}, tmp_path / "pytorch_model.bin")
    with pytest.raises(InvalidArgument, match="plain tensors"):
        detect_sparse(tmp_path)


@pytest.mark.checkpoint
def test_splade_tiny_finds_planets() -> None:
    folder = Path(os.environ.get("PLAIT_CHECKPOINTS", ""), "splade-tiny")
    if "PLAIT_CHECKPOINTS" not in os.environ or not folder.is_dir():
        pytest.skip("PLAIT_CHECKPOINTS names no folder that holds splade-tiny")
    encoder = load_sparse_encoder(str(folder), threads=1)
    documents = encoder.encode_documents(["Mars is called the red planet.", "A recipe for onion soup."])
    query = encoder.encode_queries(["which planet is red"]).rows.toarray()[0]
    assert {"planet", "red"} <= set(encoder.names(np.argsort(-query)[:5]))
    scores = documents.rows @ query
    assert scores[0] > 5 * scores[1]
