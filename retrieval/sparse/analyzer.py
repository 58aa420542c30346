"""Text to counts of terms: words (`retrieval/sparse/words.py`), stop words dropped, stemmed. The one file that knows
bm25s's tokenizer (extra `lexical`).

A term's key is a 32-bit hash of it, so that no vocabulary has to be kept or agreed upon: collections grow and merge
freely. Two of a million different terms share a key with probability 2^-32, a given one shares its key with any other
with 0.02 %; then their counts add up.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ...index.errors import FailedPrecondition, InvalidArgument
from ...index.terms import Terms
from .words import words_of

LANGUAGES = (
    *("danish", "dutch", "english", "french", "german", "italian", "norwegian", "portuguese", "russian"),
    *("spanish", "swedish", "turkish"),
)
"""Those with both stop words (NLTK's) and a Snowball stemmer."""
KEYS = 1 << 32
VERSION = 2
"""Of what new collections make of a text."""
_MARK = "words "


@dataclass(frozen=True)
class Analyzer:
    """The lexical encoder: documents and queries become counts of terms, weighed by BM25 when they are searched."""

    language: str = "english"
    version: int = VERSION
    """How texts are cut. A collection keeps that of its beginning, for its terms are what that made of them."""

    def __post_init__(self) -> None:
        if self.version not in (1, VERSION):
            raise FailedPrecondition(
                f"terms of version {self.version} are not known here, the latest is {VERSION}; upgrade plait"
            )
        if self.language not in LANGUAGES:
            raise InvalidArgument(f"language is {self.language!r}; it must be one of {', '.join(LANGUAGES)}")

    def encode_documents(self, texts: Sequence[str]) -> Terms:
        """(texts, 2^32) counts; a text without terms is an empty row."""
        return counts(words(texts, self.language, self.version))

    encode_queries = encode_documents

    def names(self, text: str) -> dict[int, str]:
        """The terms of a text by key."""
        return {key_of(term): term for term in words([text], self.language, self.version)[0]}

    @property
    def fingerprint(self) -> str:
        """What a collection keeps to cut later texts alike; empty where it was made before there were versions."""
        return "" if self.version == 1 else f"{_MARK}{self.version}"


def version_of(fingerprint: str) -> int:
    """The version of an analyzer by its fingerprint."""
    return int(fingerprint.removeprefix(_MARK)) if fingerprint else 1


def words(texts: Iterable[str], language: str = "english", version: int = VERSION) -> list[list[str]]:
    """Lower-cased words without stop words, stemmed.

    Args:
        version: 2, words as `retrieval/sparse/words.py` cuts them; 1, runs of two or more letters, digits and
            underscores, as bm25s does.

    Raises:
        FailedPrecondition: bm25s or PyStemmer is not installed.
    """
    try:
        import bm25s
        import Stemmer
    except ImportError as error:
        raise FailedPrecondition("terms of a text need bm25s and PyStemmer: pip install 'plait[lexical]'") from error
    stemmer = Stemmer.Stemmer(language)
    how = {"stopwords": language, "stemmer": stemmer, "return_ids": False, "show_progress": False}
    if version > 1:
        texts = (" ".join(words_of(text, language)) for text in texts)
        how |= {"lower": False, "token_pattern": r"\S+"}
    return bm25s.tokenize(list(texts), **how)  # pyright: ignore[reportReturnType]


@lru_cache(maxsize=1 << 18)
def key_of(term: str) -> int:
    """A term's key: the first four bytes of its BLAKE2b digest, the same on every machine."""
    return int.from_bytes(hashlib.blake2b(term.encode(), digest_size=4).digest(), "little")


def counts(documents: Sequence[Sequence[str]]) -> Terms:
    """(documents, 2^32) float32: how often each term occurs."""
    rows = [np.unique(np.array([key_of(t) for t in terms], np.int64), return_counts=True) for terms in documents]
    indptr = np.concatenate([[0], np.cumsum([len(keys) for keys, _ in rows])]).astype(np.int64)
    keys = np.concatenate([np.zeros(0, np.int64), *(k for k, _ in rows)])
    values = np.concatenate([np.zeros(0, np.float32), *(c.astype(np.float32) for _, c in rows)])
    from scipy import sparse  # here, to keep the command line's start light

    return Terms(sparse.csr_array((values, keys, indptr), shape=(len(rows), KEYS)))
