"""BM25's text side: texts to counts of stemmed terms.

A term's key is the first 32 bits of its BLAKE2b digest, so that a vocabulary needs no state: documents that are written
by different processes, at different times, or deleted, agree on every key, and a query needs nothing but its own text.
Two terms with one key count as one term. Among n distinct terms about n² / 2^33 pairs share a key: 1 pair among 100,000
terms, 116 among a million. An explanation needs no stored strings either: a key that scores occurs in the query.

Words are bm25s's: lower-cased runs of two or more letters, digits and underscores. Languages that are written without
spaces come out as whole runs; cut such texts into words first.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache

import numpy as np
from scipy import sparse

from ..index.errors import FailedPrecondition, InvalidArgument
from ..index.terms import Terms

KEYS = 1 << 32
"""The size of the key space. Rows over it must not be transposed or turned into columns: that allocates 32 GiB."""

# Stop lists that bm25s has, by their Snowball stemmer's name.
_STOP_LISTS = """
english german dutch french spanish portuguese italian russian swedish norwegian danish turkish
"""


def analyze(texts: Iterable[str], language: str = "english") -> tuple[Terms, np.ndarray]:
    """Term counts, and the length that BM25 divides by.

    Args:
        language: a Snowball stemmer, such as `english` or `german`. Stop words are left out where bm25s has a list.

    Returns:
        Terms of term frequencies, one row per text over 2^32 keys; and (texts,) int64 lengths in terms, without stop words.

    Raises:
        InvalidArgument: no such language.
        FailedPrecondition: bm25s or PyStemmer is not installed.
    """
    counts = [Counter(map(key_of, line)) for line in terms(texts, language)]
    keys = np.array([key for line in counts for key in sorted(line)], np.int64)
    values = np.array([line[key] for line in counts for key in sorted(line)], np.float32)
    indptr = np.concatenate([[0], np.cumsum([len(line) for line in counts])]).astype(np.int64)
    rows = sparse.csr_array((values, keys, indptr), shape=(len(counts), KEYS))
    return Terms(rows), np.array([line.total() for line in counts], np.int64)


def names(texts: Iterable[str], language: str = "english") -> dict[int, str]:
    """The stemmed term of every key that occurs in the texts, `a or b` where two share a key."""
    found: dict[int, set[str]] = {}
    for line in terms(texts, language):
        for term in line:
            found.setdefault(key_of(term), set()).add(term)
    return {key: " or ".join(sorted(some)) for key, some in found.items()}


def terms(texts: Iterable[str], language: str = "english") -> list[list[str]]:
    """Lower-cased words of two or more characters without stop words, stemmed. Raises as `analyze`."""
    try:
        import bm25s
        import Stemmer
    except ImportError as error:
        raise FailedPrecondition("BM25 needs bm25s and PyStemmer: pip install 'plait[eval]'") from error
    if language not in Stemmer.algorithms():
        raise InvalidArgument(f"no stemmer for {language!r}; choose one of {', '.join(sorted(Stemmer.algorithms()))}")
    lines = bm25s.tokenize(
        list(texts),
        stopwords=language if language in _STOP_LISTS.split() else [],
        stemmer=Stemmer.Stemmer(language),
        return_ids=False,
        show_progress=False,
    )
    return lines  # pyright: ignore[reportReturnType]


@lru_cache(maxsize=1 << 18)
def key_of(term: str) -> int:
    """0 to 2^32 - 1; the same on every machine."""
    return int.from_bytes(hashlib.blake2b(term.encode(), digest_size=4).digest(), "little")
