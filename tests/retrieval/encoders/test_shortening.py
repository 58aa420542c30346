"""What lies behind the tokens that an encoder keeps of a text is not tokenised, and changes none of them."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

pytest.importorskip("tokenizers")
from hypothesis import given, settings
from hypothesis import strategies as st
from plait.retrieval.models.shortening import MARGIN, shortened
from plait.retrieval.models.vocabulary import Vocabulary, bert_uncased

LENGTH = 40
PIECES = [
    "bread ",
    "an ",
    "unbelievably ",
    "日本語",
    "ü",
    "x" * 150 + " ",
    " " * 90,
    "。",
    "\u00ad",
    "!?",
    "\n",
    "가나다",
    "é",
]


class Counting:
    """A tokenizer that says how many characters it was given."""

    def __init__(self) -> None:
        self._real, self.characters = bert_uncased(), 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def encode(self, text: str, **options: Any) -> Any:
        self.characters += len(text)
        return self._real.encode(text, **options)

    def encode_batch(self, texts: list[str]) -> Any:
        self.characters += sum(map(len, texts))
        return self._real.encode_batch(texts)


@cache
def both() -> tuple[Vocabulary, Any]:
    """What is tested, and a tokenizer that reads everything. Each reads its vocabulary once."""
    return Vocabulary(bert_uncased(), "BERT"), bert_uncased()


def whole(text: str, length: int) -> Any:
    _, tokenizer = both()
    tokenizer.enable_truncation(length)
    return tokenizer.encode(text)


@settings(max_examples=150)
@given(
    st.lists(st.tuples(st.sampled_from(PIECES), st.integers(1, 60)), min_size=1, max_size=30), st.integers(2, LENGTH)
)
def test_the_tokens_that_are_kept_are_those_of_the_whole_text(parts: list[tuple[str, int]], length: int) -> None:
    text = "".join(piece * times for piece, times in parts)
    vocabulary, _ = both()
    (found,) = vocabulary.encode([text], length)
    wanted = whole(text, length)
    assert found.ids == wanted.ids and found.offsets == wanted.offsets


@pytest.mark.parametrize("unit", ["日", "bread ", "。", "\u00e4 "])
def test_a_million_characters_are_not_read(unit: str) -> None:
    tokenizer = Counting()
    text = (unit * 1_000_000)[:1_000_000]
    (found,) = Vocabulary(tokenizer, "BERT").encode([text], LENGTH)
    assert len(found.ids) == LENGTH and tokenizer.characters < 20 * (LENGTH * 8 + MARGIN)


def test_a_text_of_few_tokens_is_read_to_its_end() -> None:
    """White space gives none: the word after a million spaces is kept."""
    text = " " * 1_000_000 + "bread"
    assert shortened(bert_uncased(), [text, "an"], LENGTH) == [text, "an"]


def test_the_embedded_encoder_keeps_its_tokens() -> None:
    pytest.importorskip("onnxruntime")
    from plait.retrieval.encoders.encoder import EncoderOptions
    from plait.retrieval.encoders.load import load_encoder

    encoder = load_encoder("minilm", EncoderOptions(query_length=16))
    text = "bread rises 日本語 " * 2_000
    made, wanted = encoder.encode_queries([text]), whole(text, 16)
    assert made.ids is not None and made.ids.tolist() == wanted.ids
