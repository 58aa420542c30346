"""Checkpoint families against tiny models run by hand: plain transformers, plain matrices, one text at a time."""

from __future__ import annotations

import json
import shutil
import string
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="extra encoders is not installed")
pytest.importorskip("sentence_transformers", reason="extra encoders is not installed")

from plait.index.errors import InvalidArgument  # noqa: E402
from plait.index.tokens import Role, Tokens  # noqa: E402
from plait.retrieval.encoders.encoder import Encoder, EncoderOptions  # noqa: E402
from plait.retrieval.encoders.load import load_checkpoint  # noqa: E402
from plait.retrieval.models.folder import fingerprint  # noqa: E402
from safetensors.torch import save_file  # noqa: E402
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, processors  # noqa: E402
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast, T5Config, T5EncoderModel  # noqa: E402

PAD, QUERY_MARKER, DOCUMENT_MARKER, UNK, CLS, SEP, MASK = range(7)
SPECIAL = ["[PAD]", "[unused0]", "[unused1]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
LETTERS = [*string.ascii_lowercase, *string.digits, "é"]
WORDS = ["venus", "is", "a", "planet", "red", "the", "mars", "rings"]
VOCABULARY = [*SPECIAL, *string.punctuation, *LETTERS, *(f"##{x}" for x in LETTERS), *WORDS[:2], *WORDS[3:]]
TEXTS = ["Venus is a PLANET, (the red one).", "", "  mars!  rings\n(a)é ", "...", "qux venus " * 40, "the rings"]
CLOSE = {"rtol": 0, "atol": 2e-5}


# --- tiny checkpoints, with the file and key names of the real ones


def write(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def bert_tokenizer(folder: Path, *added: str) -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece({w: i for i, w in enumerate(VOCABULARY)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True, strip_accents=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", CLS), ("[SEP]", SEP)]
    )
    names = {"unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]"}
    tokenizer.add_tokens([AddedToken(a, normalized=True) for a in added])
    saved = PreTrainedTokenizerFast(tokenizer_object=tokenizer, mask_token="[MASK]", model_max_length=512, **names)
    saved.save_pretrained(folder)
    return tokenizer


def bert(vocabulary: int) -> BertModel:
    """Large initial weights, so that token vectors differ and a wrong token is seen."""
    torch.manual_seed(7)
    config = BertConfig(
        vocab_size=vocabulary, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
        max_position_embeddings=300, initializer_range=0.4,
    )  # fmt: skip
    return BertModel(config).eval()


def projection(seed: int, out: int, inward: int) -> Any:
    return torch.randn(out, inward, generator=torch.Generator().manual_seed(seed))


def write_bert(folder: Path, model: BertModel, prefix: str, architecture: str, **more: Any) -> None:
    weights = {f"{prefix}{key}": value.contiguous() for key, value in model.state_dict().items()}
    save_file({**weights, **more}, folder / "model.safetensors", metadata={"format": "pt"})
    write(folder / "config.json", {**model.config.to_dict(), "architectures": [architecture]})


def write_dense(folder: Path, weight: Any, *, pickled: bool = False) -> None:
    identity = "torch.nn.modules.linear.Identity"
    sizes = {"in_features": weight.shape[1], "out_features": weight.shape[0]}
    write(folder / "config.json", {**sizes, "bias": False, "activation_function": identity})
    if pickled:
        torch.save({"linear.weight": weight}, folder / "pytorch_model.bin")
    else:
        save_file({"linear.weight": weight}, folder / "model.safetensors")


class Tiny:
    """A checkpoint on disk and what is needed to run it by hand."""

    def __init__(self, folder: Path, model: Any, tokenizer: Any, matrices: Sequence[Any]) -> None:
        self.folder, self.model, self.tokenizer = folder, model, tokenizer
        self.matrices = [m.numpy() for m in matrices]

    def load(self, **options: Any) -> Encoder:
        return load_checkpoint(str(self.folder), EncoderOptions(**options), threads=1)

    def words(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    def run(self, ids: Sequence[int], attended: int | None = None) -> np.ndarray:
        """(len(ids), dim) unit rows; only the first `attended` tokens are seen by the others."""
        mask = torch.zeros(1, len(ids), dtype=torch.long)
        mask[:, : len(ids) if attended is None else attended] = 1
        with torch.inference_mode():
            rows = self.model(input_ids=torch.tensor([list(ids)]), attention_mask=mask).last_hidden_state[0].numpy()
        for matrix in self.matrices:
            rows = rows @ matrix.T
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    def attention(self, ids: Sequence[int]) -> np.ndarray:
        """(len(ids),): attention received in the last layer, over heads and positions."""
        self.model.set_attn_implementation("eager")
        with torch.inference_mode():
            layers = self.model(input_ids=torch.tensor([list(ids)]), output_attentions=True).attentions
        return layers[-1][0].numpy().sum(axis=(0, 1))


@pytest.fixture(scope="module")
def stanford(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    folder = tmp_path_factory.mktemp("stanford")
    tokenizer, model, weight = bert_tokenizer(folder), bert(len(VOCABULARY)), projection(1, 16, 32)
    write_bert(folder, model, "bert.", "HF_ColBERT", **{"linear.weight": weight})
    metadata = {"query_token_id": "[unused0]", "doc_token_id": "[unused1]", "query_maxlen": 32, "doc_maxlen": 24}
    write(folder / "artifact.metadata", {**metadata, "mask_punctuation": True, "attend_to_mask_tokens": False})
    return Tiny(folder, model, tokenizer, [weight])


PYLATE = {
    "model_type": "ColBERT", "query_prefix": "[Q] ", "document_prefix": "[D] ", "query_length": 12,
    "document_length": 20, "do_query_expansion": False, "attend_to_expansion_tokens": False,
    "skiplist_words": [",", "."], "prompts": {}, "default_prompt_name": None, "similarity_fn_name": "MaxSim",
}  # fmt: skip


@pytest.fixture(scope="module")
def pylate(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    folder = tmp_path_factory.mktemp("pylate")
    tokenizer, model = bert_tokenizer(folder, "[Q] ", "[D] "), bert(len(VOCABULARY) + 2)
    weights = [projection(2, 24, 32), projection(3, 12, 24)]
    write_bert(folder, model, "", "BertModel")
    write(folder / "sentence_bert_config.json", {"max_seq_length": 300, "do_lower_case": False})
    write(folder / "config_sentence_transformers.json", PYLATE)
    modules = [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}]
    for i, weight in enumerate(weights, 1):
        modules.append({"idx": i, "name": str(i), "path": f"{i}_Dense", "type": "pylate.models.Dense.Dense"})
        write_dense(folder / f"{i}_Dense", weight, pickled=i == 2)
    write(folder / "modules.json", modules)
    return Tiny(folder, model, tokenizer, weights)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    folder = tmp_path_factory.mktemp("plain")
    tokenizer, model = bert_tokenizer(folder), bert(len(VOCABULARY))
    write_bert(folder, model, "", "BertModel")
    return Tiny(folder, model, tokenizer, [])


T5_VOCABULARY = ["<pad>", "</s>", "<unk>", "▁", *(f"▁{w}" for w in WORDS), *LETTERS, *string.punctuation]


@pytest.fixture(scope="module")
def xtr(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    folder = tmp_path_factory.mktemp("xtr")
    scores = [(piece, -float(len(T5_VOCABULARY) - len(piece))) for piece in T5_VOCABULARY]
    tokenizer = Tokenizer(models.Unigram(scores, unk_id=2))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    names = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=512, **names).save_pretrained(folder)
    torch.manual_seed(3)
    sizes: dict[str, Any] = {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4}
    model = T5EncoderModel(T5Config(vocab_size=len(T5_VOCABULARY), **sizes)).eval()
    model.save_pretrained(folder)
    weight = projection(4, 16, 32)
    write_dense(folder / "2_Dense", weight, pickled=True)
    return Tiny(folder, model, tokenizer, [weight])


@pytest.fixture(params=["stanford", "pylate", "plain", "xtr"])
def tiny(request: pytest.FixtureRequest) -> Tiny:
    return request.getfixturevalue(request.param)


# --- what the encoder must give


def agree(tokens: Tokens, expected: Sequence[tuple[list[int], np.ndarray]]) -> None:
    """One (ids, vectors) per text, in order."""
    assert tokens.ids is not None and len(tokens) == len(expected)
    for i, (ids, vectors) in enumerate(expected):
        assert tokens.ids[tokens.rows(i)].tolist() == ids
        np.testing.assert_allclose(tokens.vectors[tokens.rows(i)], vectors, **CLOSE)
    assert tokens.vectors.dtype == np.float32


def by_hand(
    tiny: Tiny, marker: list[int], length: int, *, fill: int = 0, skipped: set[int] | None = None
) -> list[tuple[list[int], np.ndarray]]:
    expected = []
    for text in TEXTS:
        words = [CLS, *marker, *tiny.words(text)[: length - 2 - len(marker)], SEP]
        ids = words + [MASK] * (fill - len(words))
        keep = [j for j, token in enumerate(ids) if token not in (skipped or ())]
        expected.append(([ids[j] for j in keep], tiny.run(ids, attended=len(words))[keep]))
    return expected


PUNCTUATION = {VOCABULARY.index(c) for c in string.punctuation}


def test_stanford_document_drops_punctuation_and_keeps_its_marker(stanford: Tiny) -> None:
    encoder = stanford.load()
    agree(encoder.encode_documents(TEXTS), by_hand(stanford, [DOCUMENT_MARKER], 24, skipped=PUNCTUATION))
    assert (encoder.spec.family, encoder.spec.dim, encoder.spec.vocabulary) == ("stanford", 16, len(VOCABULARY))
    assert (encoder.spec.query_length, encoder.spec.document_length, encoder.spec.query_expansion) == (32, 24, 32)
    assert encoder.spec.fingerprint == fingerprint(stanford.folder, EncoderOptions())
    short = stanford.load(document_length=9).encode_documents(TEXTS)
    agree(short, by_hand(stanford, [DOCUMENT_MARKER], 9, skipped=PUNCTUATION))


@pytest.mark.parametrize(
    ("options", "length", "fill"),
    [
        ({}, 32, 32),
        ({"query_expansion": 0}, 32, 0),
        ({"query_expansion": 0, "query_length": 7}, 7, 0),
        ({"query_expansion": 11}, 32, 11),
        ({"query_expansion": 48}, 48, 48),
        ({"query_length": 60}, 60, 32),
    ],
)
def test_stanford_query_expansion(stanford: Tiny, options: dict[str, int], length: int, fill: int) -> None:
    encoder = stanford.load(**options)
    agree(encoder.encode_queries(TEXTS), by_hand(stanford, [QUERY_MARKER], length, fill=fill))
    assert (encoder.spec.query_length, encoder.spec.query_expansion) == (length, fill)


def test_pylate_honours_prefixes_skiplist_and_every_dense(pylate: Tiny) -> None:
    encoder = pylate.load()
    question, document = len(VOCABULARY), len(VOCABULARY) + 1
    skipped = {VOCABULARY.index(","), VOCABULARY.index(".")}
    agree(encoder.encode_documents(TEXTS), by_hand(pylate, [document], 20, skipped=skipped))
    agree(encoder.encode_queries(TEXTS), by_hand(pylate, [question], 12))
    agree(pylate.load(query_expansion=16).encode_queries(TEXTS), by_hand(pylate, [question], 16, fill=16))
    assert (encoder.spec.family, encoder.spec.dim, encoder.spec.query_expansion) == ("pylate", 12, 0)
    assert encoder.spec.vocabulary == len(VOCABULARY) + 2


def test_sentence_transformers_save_gives_the_same_vectors(stanford: Tiny, tmp_path: Path) -> None:
    from sentence_transformers import MultiVectorEncoder

    MultiVectorEncoder(str(stanford.folder), device="cpu").save(str(tmp_path))
    encoder = Tiny(tmp_path, stanford.model, stanford.tokenizer, []).load()
    assert encoder.spec.family == "sentence-transformers"
    agree(encoder.encode_documents(TEXTS), by_hand(stanford, [DOCUMENT_MARKER], 24, skipped=PUNCTUATION))
    agree(encoder.encode_queries(TEXTS), by_hand(stanford, [QUERY_MARKER], 32, fill=32))


def test_plain_transformer_gives_every_token_and_the_mean(plain: Tiny) -> None:
    encoder = plain.load()
    tokens = encoder.encode_documents(TEXTS)
    agree(tokens, by_hand(plain, [], 256))
    agree(encoder.encode_queries(TEXTS), by_hand(plain, [], 160))
    assert tokens.globals_ is not None
    for i, text in enumerate(TEXTS):
        ids = torch.tensor([[CLS, *plain.words(text)[:254], SEP]])
        mean = plain.model(input_ids=ids).last_hidden_state[0].detach().numpy().mean(axis=0)
        np.testing.assert_allclose(tokens.globals_[i], mean / np.linalg.norm(mean), **CLOSE)
    filled: Any = plain.load(query_expansion=20, query_length=256).encode_queries(TEXTS)
    agree(filled, by_hand(plain, [], 256, fill=20))
    np.testing.assert_allclose(filled.globals_, tokens.globals_, **CLOSE)  # MASKs stay out of the mean


def test_xtr_lowers_the_text_and_keeps_the_end(xtr: Tiny) -> None:
    encoder = xtr.load()
    texts = [*TEXTS, "Red " * 600]
    expected = []
    for text in texts:
        ids = [*xtr.words(text.lower())[:511], 1]
        expected.append((ids, xtr.run(ids)))
    agree(encoder.encode_documents(texts), expected)
    agree(encoder.encode_queries(texts), expected)
    assert (encoder.spec.family, encoder.spec.dim, encoder.spec.query_expansion) == ("xtr", 16, 0)
    assert encoder.tokenize([""]).roles.tolist() == [Role.SEP]  # type: ignore[union-attr]


def test_a_text_is_encoded_alike_alone_and_among_others(tiny: Tiny) -> None:
    encoder: Any = tiny.load()
    many = [text + " a" * (i % 7) for i, text in enumerate(TEXTS * 30)]
    for encode in (encoder.encode_documents, encoder.encode_queries):
        together = encode(many)
        for i in (0, 1, 100, len(many) - 1):
            alone, part = encode([many[i]]), together.take([i])
            assert alone.ids.tolist() == part.ids.tolist()
            assert alone.spans.tolist() == part.spans.tolist()
            np.testing.assert_allclose(alone.vectors, part.vectors, **CLOSE)


def test_spans_point_at_the_surface_of_every_token(tiny: Tiny) -> None:
    encoder: Any = tiny.load()
    dropped = {"stanford": string.punctuation, "pylate": ",."}.get(encoder.spec.family, "")

    @settings(max_examples=60, deadline=None)
    @given(st.lists(st.sampled_from(["venus", "Planet", "the", " ", "  ", "é", "É", "(", ",", ".", "7"]), max_size=12))
    def check(parts: list[str]) -> None:
        text = "".join(parts)
        tokens = encoder.tokenize([text, " " + text])
        for i, source in enumerate([text, " " + text]):
            surfaces = [source[a:b] for a, b in tokens.spans[tokens.rows(i)].tolist()]
            roles, ids = tokens.roles[tokens.rows(i)].tolist(), tokens.ids[tokens.rows(i)].tolist()
            # Nothing of the text is lost or doubled, but white space, what is skipped, and what is cut.
            whole = "".join(c for c in source if not c.isspace() and c not in dropped)
            assert whole.startswith("".join(surfaces))
            # A text is cut before anything is skipped, so that what was skipped counts towards the cut.
            assert len(ids) + sum(c in dropped for c in source) >= 15 or whole == "".join(surfaces)
            for surface, role, token in zip(surfaces, roles, ids, strict=True):
                if role in (Role.CLS, Role.MARKER, Role.SEP):
                    assert surface == ""
                else:
                    piece = tiny.tokenizer.id_to_token(token).removeprefix("##").lstrip("▁")
                    assert surface.lower() == piece
                    assert (role == Role.PUNCTUATION) == (piece != "" and piece in string.punctuation)

    check()


def test_roles_of_a_colbert_query(stanford: Tiny) -> None:
    tokens = stanford.load(query_expansion=10).encode_queries(["Venus, [SEP]"])
    word, mark = Role.WORD, Role.PUNCTUATION
    assert tokens.roles is not None
    # A separator that the user typed is a word of the text.
    assert tokens.roles.tolist() == [Role.CLS, Role.MARKER, word, mark, word, Role.SEP] + [Role.MASK] * 4
    assert tokens.spans is not None
    assert tokens.spans.tolist()[:6] == [[0, 0], [0, 0], [0, 5], [5, 6], [7, 12], [0, 0]]


def test_tokenize_is_encoding_without_vectors(tiny: Tiny) -> None:
    encoder: Any = tiny.load()
    tokens, encoded = encoder.tokenize(TEXTS), encoder.encode_documents(TEXTS)
    assert tokens.vectors.shape == (len(encoded.vectors), 0)
    for column in ("offsets", "ids", "roles", "spans"):
        assert getattr(tokens, column).tolist() == getattr(encoded, column).tolist()
    assert encoder.encode_documents([]).vectors.shape == (0, encoder.spec.dim)


def test_a_document_of_skipped_tokens_keeps_its_first(stanford: Tiny, tmp_path: Path) -> None:
    """With [CLS], marker and [SEP] on the skiplist too, a document of punctuation would lose every token."""
    from sentence_transformers import MultiVectorEncoder

    MultiVectorEncoder(str(stanford.folder), device="cpu").save(str(tmp_path))
    mask = next(tmp_path.glob("*_MultiVectorMask")) / "config.json"
    write(mask, {**json.loads(mask.read_text()), "skiplist_words": [*SPECIAL[1:], *string.punctuation]})
    tokens = Tiny(tmp_path, None, stanford.tokenizer, []).load().encode_documents(["...", "venus ."])
    assert tokens.lengths.tolist() == [1, 1]
    assert tokens.ids is not None
    assert tokens.ids.tolist() == [CLS, VOCABULARY.index("venus")]
    ids = [CLS, DOCUMENT_MARKER, *stanford.words("..."), SEP]
    np.testing.assert_allclose(tokens.vectors[0], stanford.run(ids)[0], **CLOSE)


@pytest.mark.parametrize("family", ["stanford", "xtr"])
def test_weights_are_the_attention_received(family: str, request: pytest.FixtureRequest) -> None:
    tiny = request.getfixturevalue(family)
    encoder, exact = tiny.load(attention=True), tiny.load()
    tokens = encoder.encode_documents(TEXTS)
    assert tokens.weights is not None and tokens.weights.dtype == np.float32
    np.testing.assert_allclose(tokens.vectors, exact.encode_documents(TEXTS).vectors, **CLOSE)
    for i, text in enumerate(TEXTS):
        by_t5, by_bert = tiny.words(text.lower())[:511], tiny.words(text)[:21]
        ids = [*by_t5, 1] if family == "xtr" else [CLS, DOCUMENT_MARKER, *by_bert, SEP]
        keep = [j for j, token in enumerate(ids) if family == "xtr" or token not in PUNCTUATION]
        np.testing.assert_allclose(tokens.weights[tokens.rows(i)], tiny.attention(ids)[keep], rtol=1e-4)
    assert encoder.encode_queries(TEXTS).weights is None
    assert encoder.tokenize(TEXTS).weights is None


def test_projection_under_another_key_is_refused(xtr: Tiny, tmp_path: Path) -> None:
    shutil.copytree(xtr.folder, tmp_path, dirs_exist_ok=True)
    torch.save({"weight": projection(4, 16, 32)}, tmp_path / "2_Dense" / "pytorch_model.bin")
    with pytest.raises(InvalidArgument, match=r"linear\.weight"):
        load_checkpoint(str(tmp_path), EncoderOptions())


@pytest.mark.parametrize(
    ("family", "options", "message"),
    [
        ("stanford", {"query_length": 16}, "query_length 16 is below the 32"),
        ("stanford", {"query_expansion": 64, "query_length": 40}, "query_length 40 is below the 64"),
        ("stanford", {"document_length": 301}, "document_length is 301; this model has 300 positions"),
        ("xtr", {"query_expansion": 8}, r"no \[MASK\] token"),
    ],
)
def test_contradicting_options_are_refused(
    family: str, options: dict[str, int], message: str, request: pytest.FixtureRequest
) -> None:
    with pytest.raises(InvalidArgument, match=message):
        request.getfixturevalue(family).load(**options)
