"""A tokenizer file without its model: texts to vocabulary ids and back."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...index.errors import FailedPrecondition, InvalidArgument
from .shortening import shortened

BERT_UNCASED = Path(__file__).with_name("minilm_vocab.txt")
"""BERT's uncased vocabulary, 30522 pieces."""
_BERT_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


class Vocabulary:
    """Ids of texts between their opening and closing token ([CLS] and [SEP]); a text that
    spells one cannot inject it."""

    def __init__(self, tokenizer: Any, source: str) -> None:
        tokenizer.no_padding()
        tokenizer.encode_special_tokens = True
        self._tokenizer = tokenizer
        # Truncation is state of the tokenizer, so two calls must not overlap.
        self._lock = threading.Lock()
        frame = tokenizer.encode("").ids
        if len(frame) != 2:
            raise InvalidArgument(f"{source} frames a text with {len(frame)} tokens; plait needs [CLS] and [SEP], 2")
        self.cls, self.sep = frame
        added = tokenizer.get_added_tokens_decoder()
        known = (tokenizer.token_to_id(piece) for piece in _BERT_SPECIAL)
        self.special = frozenset({*frame, *(i for i, a in added.items() if a.special), *known} - {None})
        """Ids that stand for no text."""

    def __len__(self) -> int:
        return self._tokenizer.get_vocab_size()

    def encode(self, texts: Sequence[str], length: int) -> list[Any]:
        """`tokenizers.Encoding` of every text, cut to `length` tokens; both frame tokens stay."""
        with self._lock:
            short = shortened(self._tokenizer, texts, length)
            self._tokenizer.enable_truncation(length)
            return self._tokenizer.encode_batch(short)

    def ids(self, texts: Sequence[str], length: int) -> list[list[int]]:
        """Ids of every text, at most `length` with both frame tokens."""
        return [encoding.ids for encoding in self.encode(texts, length)]

    def bare(self, texts: Sequence[str], length: int) -> list[list[int]]:
        """As `ids`, without the frame."""
        return [ids[1:-1] for ids in self.ids(texts, length)]

    def id_of(self, piece: str) -> int | None:
        return self._tokenizer.token_to_id(piece)

    def pieces(self) -> dict[str, int]:
        return self._tokenizer.get_vocab()

    def names(self, keys: Iterable[int]) -> list[str]:
        """The piece of each id; `[id]` where a model has more rows than its tokenizer has pieces."""
        return [self._tokenizer.id_to_token(int(key)) or f"[{key}]" for key in keys]


def bert_uncased() -> Any:
    """BERT's uncased WordPiece with the vocabulary that comes with plait."""
    return wordpiece(BERT_UNCASED, lowercase=True)


def wordpiece(path: Path, *, lowercase: bool) -> Any:
    """A BERT tokenizer from its vocab.txt. It knows no special tokens, so a text that
    spells "[SEP]" cannot inject one."""
    try:
        from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    except ImportError as error:
        raise FailedPrecondition("a vocabulary needs tokenizers: pip install 'plait[demo]'") from error
    tokenizer = Tokenizer(models.WordPiece.from_file(str(path), unk_token="[UNK]"))
    cls, sep = (tokenizer.token_to_id(piece) for piece in ("[CLS]", "[SEP]"))
    if cls is None or sep is None:
        raise InvalidArgument(f"{path} lists no [CLS] or no [SEP]; it is no BERT vocabulary")
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", sep), ("[CLS]", cls))
    return tokenizer


def check_vocabulary(folder: Path, pieces: Mapping[str, int], rows: int) -> None:
    """InvalidArgument: the tokenizer gives ids that the model has no embedding for."""
    piece, greatest = max(pieces.items(), key=lambda pair: pair[1])
    if greatest >= rows:
        raise InvalidArgument(
            f"{folder}: the tokenizer has the id {greatest} ({piece!r}), and the model has embeddings for ids up to {rows - 1}; the "
            "tokenizer belongs to another model"
        )


def read_vocabulary(folder: Path, size: int | None = None) -> Vocabulary:
    """The tokenizer of a checkpoint folder: tokenizer.json, or vocab.txt, or else BERT's
    uncased where `size` is its 30522.

    Raises:
        InvalidArgument: none of these, a file that does not load, or ids of `size` and beyond.
        FailedPrecondition: the package `tokenizers` is missing.
    """
    found = _read_vocabulary(folder, size)
    if size is not None:
        check_vocabulary(folder, found.pieces(), size)
    return found


def _read_vocabulary(folder: Path, size: int | None) -> Vocabulary:
    whole, pieces = folder / "tokenizer.json", folder / "vocab.txt"
    try:
        if whole.is_file():
            from tokenizers import Tokenizer

            return Vocabulary(Tokenizer.from_file(str(whole)), str(whole))
        if pieces.is_file():
            settings = folder / "tokenizer_config.json"
            cased = settings.is_file() and not json.loads(settings.read_text()).get("do_lower_case", True)
            return Vocabulary(wordpiece(pieces, lowercase=not cased), str(pieces))
    except ImportError as error:
        raise FailedPrecondition("a vocabulary needs tokenizers: pip install 'plait[demo]'") from error
    # The Rust library raises bare exceptions.
    except Exception as error:
        if isinstance(error, InvalidArgument | FailedPrecondition):
            raise
        raise InvalidArgument(f"the tokenizer in {folder} does not load: {error}") from error
    if size == 30522:
        return Vocabulary(bert_uncased(), "BERT's uncased vocabulary")
    raise InvalidArgument(f"{folder} has neither tokenizer.json nor vocab.txt; copy one of them from its base model")
