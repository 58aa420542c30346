"""Text to counts of terms: words, stop words dropped, stemmed. The one file that knows bm25s's tokenizer (extra `lexical`).

A term's key is a 32-bit hash of it, so that no vocabulary has to be kept or agreed upon: collections grow and merge
freely. Two of a million different terms share a key with probability 2^-32, a given one shares its key with any other with
0.02 %; then their counts add up.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ..index.errors import FailedPrecondition, InvalidArgument
from ..index.terms import Terms

LANGUAGES = (
    *("danish", "dutch", "english", "french", "german", "italian", "norwegian", "portuguese", "russian"),
    *("spanish", "swedish", "turkish"),
)
"""Those with both stop words (NLTK's) and a Snowball stemmer."""
KEYS = 1 << 32


@dataclass(frozen=True)
class Analyzer:
    """The lexical encoder: documents and queries become counts of terms, weighed by BM25 when they are searched."""

    language: str = "english"

    def __post_init__(self) -> None:
        if self.language not in LANGUAGES:
            raise InvalidArgument(f"language is {self.language!r}; it must be one of {', '.join(LANGUAGES)}")

    def encode_documents(self, texts: Sequence[str]) -> Terms:
        """(texts, 2^32) counts; a text without terms is an empty row."""
        return counts(words(texts, self.language))

    encode_queries = encode_documents

    def names(self, text: str) -> dict[int, str]:
        """The terms of a text by key."""
        return {key_of(term): term for term in words([text], self.language)[0]}


def words(texts: Iterable[str], language: str = "english") -> list[list[str]]:
    """Lower-cased words of two or more characters without stop words, stemmed.

    Raises:
        FailedPrecondition: bm25s or PyStemmer is not installed.
    """
    try:
        import bm25s
        import Stemmer
    except ImportError as error:
        raise FailedPrecondition("terms of a text need bm25s and PyStemmer: pip install 'plait[lexical]'") from error
    stemmer = Stemmer.Stemmer(language)
    tokens = bm25s.tokenize(list(texts), stopwords=language, stemmer=stemmer, return_ids=False, show_progress=False)
    return tokens  # pyright: ignore[reportReturnType]


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
