"""An answer's bytes, counted while it is built: what a message cannot hold is refused before it takes the memory."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ...index.hits import Hits
from ...index.reading.snapshot import Snapshot
from ..limits import BadField, Limits
from ..messages.payloads import write_payload
from ..wire.documents_pb2 import Integers

_FRAME = 8
"""Bytes around each part of a message, at most."""
_REST = 1 << 10
"""Bytes that are kept for what an answer holds beside its parts: sequence number, times, a page's token."""


class AnswerTooLarge(BadField):
    """An answer would be larger than a message may be."""


class Room:
    """How much one answer may still hold."""

    def __init__(self, limits: Limits, field: str, remedy: str):
        """
        Args:
            field: the field of the request by which a caller asks for less.
            remedy: how to ask for less.
        """
        self._limit, self._field, self._remedy = limits.message_bytes, field, remedy
        self.left = limits.message_bytes - _REST

    def take(self, part: Any) -> None:
        """Counts a message that is part of the answer, or a text. AnswerTooLarge: it does not fit any more."""
        self.left -= _FRAME + (len(part.encode()) if isinstance(part, str) else part.ByteSize())
        if self.left < 0:
            raise AnswerTooLarge(self._field, too_large(self._limit, self._remedy))


def too_large(limit: int, remedy: str) -> str:
    """What is said of an answer that does not fit."""
    return f"the answer is larger than {limit:,} bytes, the message_bytes limit of this server; {remedy}"


def put_hits(snapshot: Snapshot, hits: Hits, payload: bool, into: Any, room: Room) -> None:
    """Adds a ranking to `into`, a repeated field of hits. Only one document at a time
    is in memory beside the answer."""
    made = {
        number: into.add(score=score) for number, score in zip(hits.docs.tolist(), hits.scores.tolist(), strict=True)
    }
    for document in snapshot.each_document(hits.docs):
        hit = made[document.number]
        hit.id = document.id
        if payload:
            write_payload(document.payload, hit.payload, hit.integers)
        room.take(hit)


def put_columns(snapshot: Snapshot, hits: Hits, payload: bool, answer: Any, room: Room) -> None:
    """As `put_hits`, into the columns of an answer: ids and, if they are asked for, payloads."""
    first = len(answer.ids)
    places = {number: first + i for i, number in enumerate(hits.docs.tolist())}
    answer.ids.extend([""] * len(places))
    for _ in places if payload else ():
        answer.payloads.add()
    for document in snapshot.each_document(hits.docs):
        place = places[document.number]
        answer.ids[place] = document.id
        room.take(document.id)
        if not payload:
            continue
        integers = Integers()
        room.take(write_payload(document.payload, answer.payloads[place], integers))
        if integers.at:
            answer.integers[place].CopyFrom(integers)
            room.take(integers)


def once(ids: Iterable[str]) -> list[str]:
    """The ids in this order, each once."""
    return list(dict.fromkeys(ids))
