"""What a precision learns from a collection's vectors: stored with the first records that need it, learned again where
it was learned from too few.

A codebook is stored by the transaction that writes the first records, if none is there, and every later record is of
the stored one. While it was learned from fewer than `ENOUGH` vectors, documents keep their vectors as they were given,
up to `_ORIGINALS`, so that the first merge that has enough can learn and encode again
without a loss on top of the first.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..catalog.catalog import put_meta, put_resource
from ..catalog.schema import Schema
from ..catalog.view import View
from ..codecs.codec import Codec
from ..codecs.precisions import LEARNING
from ..codecs.product import ENOUGH, LEARNED, Keep
from ..representations import Representations
from ..segments.fresh import pack, unpack
from ..tokens import Tokens

_FROM = "learned_from"
_ORIGINALS = 1 << 14
"""Vectors that are kept as they were given, at most: 4 MB of 128 dimensions."""
_AGAIN = 1 << 10, 4
"""With fewer than `ENOUGH`, it is learned again from so many vectors that are so many times those of before."""
_TABLE = (
    "CREATE TABLE IF NOT EXISTS originals (number INTEGER PRIMARY KEY, vectors BLOB NOT NULL)",
    "CREATE TRIGGER IF NOT EXISTS originals_gone AFTER DELETE ON documents "
    "BEGIN DELETE FROM originals WHERE number = old.number; END",
)
Numbered = tuple[np.ndarray, Representations]


def store_learned(view: View, keep: Keep) -> None:
    """Stores what was learned for the records of this transaction, unless it is there.

    Another process, or a merge, may have stored another codebook since: then `keep` takes that one, and what was
    encoded by the former is to be encoded again.
    """
    if keep.book is None:
        return
    stored = view.resource_crc(LEARNED)
    if stored is None:
        put_resource(view, LEARNED, keep.data)
        put_meta(view, _FROM, keep.vectors)
    elif stored != zlib.crc32(keep.data):
        keep.forget()


def may_change(view: View) -> bool:
    """Whether the codebook may be another when what is encoded now is written: there is
    none, or one of too few vectors."""
    return view.resource_crc(LEARNED) is None or _unsettled(view)


def _unsettled(view: View) -> bool:
    return view.meta(_FROM, ENOUGH) < ENOUGH


def due(view: View, vectors: int) -> bool:
    """Whether there are enough vectors by now to learn again what was learned from too few."""
    before, (least, times) = view.meta(_FROM, ENOUGH), _AGAIN
    return before < ENOUGH and (vectors >= ENOUGH or vectors >= max(least, times * before))


def put_originals(view: View, numbers: Iterable[int], given: Tokens | None) -> None:
    """Keeps the vectors of documents as they were given, while the codebook is unsettled and up to a bound."""
    if given is None or not len(given.vectors) or not _unsettled(view):
        return
    for sql in _TABLE:
        view.db.execute(sql)
    held = view.db.execute("SELECT coalesce(sum(length(vectors)), 0) FROM originals").get
    if int(held) // (2 * given.vectors.shape[1]) > _ORIGINALS:
        return
    wide = given.vectors.astype("<f2")
    ends = zip(given.offsets[:-1].tolist(), given.offsets[1:].tolist(), strict=True)
    rows = [(n, wide[a:b].tobytes()) for n, (a, b) in zip(numbers, ends, strict=True) if a < b]
    view.db.executemany("INSERT OR REPLACE INTO originals VALUES (?, ?)", rows)


def encoded_again(packed: Sequence[tuple[int, bytes]], given: Tokens, codec: Codec) -> list[tuple[int, bytes]]:
    """Packed documents with records of the codec as it is now."""
    again = []
    for i, (size, blob) in enumerate(packed):
        document = unpack(blob, codec)
        records = codec.encode(given.vectors[given.offsets[i] : given.offsets[i + 1]])
        again.append((size, pack(replace(document, tokens=document.tokens.with_vectors(records)), codec)))
    return again


class Relearned:
    """A new codebook for all documents, and how records of the old one become its own."""

    def __init__(self, view: View, schema: Schema, batches: Iterable[Numbered], vectors: int):
        """`batches`: documents to learn from, `vectors` in all."""
        self._old, self._originals = schema.codec, _originals(view, schema.dim)
        share = min(1.0, 4 * ENOUGH / max(1, vectors))
        rng, some = np.random.default_rng(0), []
        for numbers, batch in batches:
            given = self._given(numbers, batch.tokens)
            some.append(given[rng.random(len(given)) < share])
        self.schema = replace(schema, keep=Keep())
        learning = self.schema.codec
        assert isinstance(learning, LEARNING)
        learning.learn(np.concatenate(some))
        self.schema.keep.vectors = vectors

    def encoded(self, batches: Iterable[Numbered]) -> Iterator[Numbered]:
        """The same documents in records of the new codebook."""
        for numbers, batch in batches:
            records = self.schema.codec.encode(self._given(numbers, batch.tokens))
            yield numbers, replace(batch, tokens=batch.tokens.with_vectors(records))

    def commit(self, view: View) -> None:
        """In the transaction that names the new segment: stores the codebook, and encodes what came meanwhile."""
        self._originals = _originals(view, self.schema.dim)
        for number, blob in view.fresh():
            ((_, document),) = self.encoded([(np.array([number]), unpack(blob, self._old))])
            packed = pack(document, self.schema.codec)
            view.db.execute("UPDATE growing SET tokens = ? WHERE number = ?", (packed, number))
        put_resource(view, LEARNED, self.schema.keep.data)
        put_meta(view, _FROM, self.schema.keep.vectors)
        if not _unsettled(view):
            view.db.execute("DROP TRIGGER IF EXISTS originals_gone")
            view.db.execute("DROP TABLE IF EXISTS originals")

    def _given(self, numbers: np.ndarray, tokens: Tokens) -> np.ndarray:
        """(tokens, dim) float32: vectors as they were given, or what the old records stand for."""
        vectors = self._old.floats(tokens.vectors)
        for i, number in enumerate(numbers.tolist()):
            if (original := self._originals.get(number)) is not None:
                vectors[tokens.offsets[i] : tokens.offsets[i + 1]] = original
        return vectors


def _originals(view: View, dim: int) -> Mapping[int, np.ndarray]:
    if view.db.execute("SELECT 1 FROM sqlite_master WHERE name = 'originals'").fetchone() is None:
        return {}
    rows: list[Any] = view.db.execute("SELECT number, vectors FROM originals").fetchall()
    return {number: np.frombuffer(blob, "<f2").reshape(-1, dim) for number, blob in rows}
