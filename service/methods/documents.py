"""DocumentService: documents come, change, go and are looked up."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

from ...index.errors import AlreadyExists
from ...index.filters.sql import condition
from ...index.payload import check_payload
from ...index.tokens import Tokens, check, from_vectors
from ...index.writing.bulk import WRITE, refuse_unfinished
from ...index.writing.live import Written
from ...retrieval.retriever import Retriever
from ...retrieval.text.given import checked, no_vector
from ..hosting.collections import Collections, Opened
from ..limits import BadField, Limits
from ..messages.filters import read_filter
from ..messages.payloads import read_payload, write_payload
from ..messages.tensors import read_tokens, read_vectors
from ..rpc.answers import AnswerTooLarge, Room, once
from ..rpc.calls import Call
from ..wire import documents_pb2 as wire
from .consistency import wait_for_state
from .kept_stream import kept_stream

_PAGE = 100
_PAGE_BYTES = 8 << 20
"""A page ends early when its documents weigh so much, or limits.message_bytes if that is less."""


class DocumentMethods:
    own_turns = ("ingest_documents",)

    def __init__(self, collections: Collections, limits: Limits):
        self._collections, self._limits = collections, limits

    def upsert_documents(self, request: wire.UpsertDocumentsRequest, call: Call) -> wire.UpsertDocumentsResponse:
        durable = _durable(request.durability)
        with self._collections.use(request.collection) as opened:
            written = self._write(opened, request.documents, durable, request.defer)
        return wire.UpsertDocumentsResponse(seq=written.seq, count=written.count)

    def ingest_documents(self, requests: Iterator[Any], call: Call) -> Iterator[wire.IngestDocumentsResponse]:
        first = next(requests, None)
        if first is None:
            return
        with self._collections.use(first.collection) as opened:
            # An alias is followed once. While a stream waits for its client, the collection is not kept for it.
            name = opened.name
        given = _same_collection(first, requests)
        yield from (self._bulk if first.bulk else self._ingest)(name, given, call, first.defer)

    def _ingest(
        self, name: str, requests: Iterable[Any], call: Call, defer: bool
    ) -> Iterator[wire.IngestDocumentsResponse]:
        count = 0
        for messages, request in enumerate(requests, 1):
            with call.turn(), self._collections.use(name) as opened:
                written = self._write(opened, request.documents, True, defer)
            count += written.count
            yield wire.IngestDocumentsResponse(messages=messages, seq=written.seq, count=count)

    def _bulk(
        self, name: str, requests: Iterable[Any], call: Call, defer: bool
    ) -> Iterator[wire.IngestDocumentsResponse]:
        """One bulk write. It shuts others out, so it begins when its last message has come: until then all are kept.

        It takes no turn, for it may be long; the collection lets one bulk write in at a time.
        """
        with kept_stream(self._collections.root) as kept:
            messages, as_given = 0, False
            for request in requests:
                call.check()
                messages += 1
                if request.documents or not request.last:
                    self._limits.check("batch_documents", len(request.documents), "documents", least=1)
                    as_given = _as_given(request.documents[0]) if messages == 1 else as_given
                    if as_given:
                        _whole(defer)
                    self._refuse_now(name, request.documents, as_given)
                    kept.keep(request, messages)
                if request.last:
                    break
            else:
                raise BadField("last", "the bulk write ended without a message marked `last`; nothing of it is kept")
            with self._collections.use(name) as opened:
                count = self._add(opened.retriever, kept.batches(call), defer)
                seq = opened.retriever.seq
        yield wire.IngestDocumentsResponse(messages=messages, seq=seq, count=count)

    def _refuse_now(self, name: str, documents: Sequence[wire.Document], as_given: bool) -> None:
        """Raises what the write would be refused for at its end, as far as these documents alone show it."""
        with self._collections.use(name) as opened:
            retriever = opened.retriever
            if as_given:
                ids, tokens, payloads = self._given(documents)
                check(tokens, retriever.collection.dim)
                for id, payload in zip(ids, payloads, strict=True):
                    check_payload(id, payload)
            else:
                ids = [_as_written(retriever, document)["id"] for document in self._texts(retriever, documents)]
            with retriever.collection.catalog.reading() as view:
                refuse_unfinished(view, retriever.collection.catalog.building)
                known = view.by_ids(ids)
        if known:
            raise AlreadyExists(f"the id {min(known)!r} is there already; a bulk write only adds")

    def _add(self, retriever: Retriever, batches: Iterator[Sequence[wire.Document]], defer: bool) -> int:
        if (head := next(batches, None)) is None:
            return 0
        if not _as_given(head[0]):
            texts = (document for batch in chain([head], batches) for document in self._texts(retriever, batch))
            return retriever.add(texts, defer=defer)
        with retriever.collection.builder(WRITE) as builder:
            builder.refuse_unfinished()
            try:
                for batch in chain([head], batches):
                    builder.add(*self._given(batch))
            except BaseException:
                builder.discard()
                raise
            return builder.publish()

    def delete_documents(self, request: wire.DeleteDocumentsRequest, call: Call) -> wire.DeleteDocumentsResponse:
        durable, which = _durable(request.durability), request.WhichOneof("which")
        if which is None:
            raise BadField("which", "give either ids or a filter")
        with self._collections.use(request.collection) as opened:
            filter, ids = None, None
            if which == "filter":
                filter = read_filter(request.filter, self._limits)
            else:
                self._limits.check("ids", len(request.ids.ids), "ids")
                ids = list(request.ids.ids)
            written = opened.retriever.delete(ids, filter, request.dry_run, durable)
        return wire.DeleteDocumentsResponse(seq=written.seq, count=written.count)

    def get_documents(self, request: wire.GetDocumentsRequest, call: Call) -> wire.GetDocumentsResponse:
        self._limits.check("ids", len(request.ids), "ids")
        with self._collections.use(request.collection) as opened:
            wait_for_state(opened.retriever, request, call)
            with opened.retriever.collection.catalog.reading() as view:
                response = wire.GetDocumentsResponse(seq=view.meta("seq"), answered=len(request.ids))
                room = Room(self._limits, "ids", "ask for fewer ids at a time, or say `partial`")
                ids = once(request.ids)
                for id, found in zip(ids, view.each_id(ids), strict=True):
                    if found is None:
                        continue
                    document = response.documents.add(id=id)
                    write_payload(found.payload, document.payload, document.integers)
                    try:
                        room.take(document)
                    except AnswerTooLarge:
                        if not request.partial or len(response.documents) == 1:
                            raise
                        del response.documents[-1]
                        response.answered = list(request.ids).index(id)
                        break
        return response

    def list_documents(self, request: wire.ListDocumentsRequest, call: Call) -> wire.ListDocumentsResponse:
        size = request.page_size if request.HasField("page_size") else min(_PAGE, self._limits.page_size)
        self._limits.check("page_size", size, "page_size", least=1)
        filter = read_filter(request.filter, self._limits) if request.HasField("filter") else None
        response = wire.ListDocumentsResponse()
        room = Room(
            self._limits, "page_size", "a single document does not fit; raise the limit where the server is started"
        )
        spare = max(0, room.left - _PAGE_BYTES)
        with (
            self._collections.use(request.collection) as opened,
            opened.retriever.collection.catalog.reading() as view,
        ):
            for found in view.each_after(request.page_token, size, *condition(filter, view.declared)):
                document = response.documents.add(id=found.id)
                write_payload(found.payload, document.payload, document.integers)
                try:
                    room.take(document)
                except AnswerTooLarge:
                    if len(response.documents) == 1:
                        raise
                    del response.documents[-1]
                    response.next_page_token = response.documents[-1].id
                    break
                if room.left < spare or len(response.documents) == size:
                    response.next_page_token = found.id
                    break
        return response

    def count_documents(self, request: wire.CountDocumentsRequest, call: Call) -> wire.CountDocumentsResponse:
        filter = read_filter(request.filter, self._limits) if request.HasField("filter") else None
        with self._collections.use(request.collection) as opened:
            retriever = opened.retriever
            return wire.CountDocumentsResponse(count=retriever.count(filter), seq=retriever.seq)

    def update_payload(self, request: wire.UpdatePayloadRequest, call: Call) -> wire.UpdatePayloadResponse:
        durable, patch = _durable(request.durability), read_payload(request.patch, request.integers)
        with self._collections.use(request.collection) as opened:
            written = opened.retriever.update_payload(request.id, patch, durable)
        return wire.UpdatePayloadResponse(seq=written.seq)

    def _write(self, opened: Opened, documents: Sequence[wire.Document], durable: bool, defer: bool) -> Written:
        """One transaction."""
        self._limits.check("batch_documents", len(documents), "documents", least=1)
        retriever = opened.retriever
        if _as_given(documents[0]):
            _whole(defer)
            ids, tokens, payloads = self._given(documents)
            return retriever.upsert_tokens(ids, tokens, payloads, durable)
        return retriever.upsert(self._texts(retriever, documents), durable, defer)

    def _given(self, documents: Sequence[wire.Document]) -> tuple[list[str], Tokens, list[dict[str, Any]]]:
        vectors = [d.vector for d in documents if d.HasField("vector")]
        if len(vectors) not in (0, len(documents)) or not all(map(_as_given, documents)):
            raise BadField("documents", "documents: give tokens for all of a batch, or for none, and vectors likewise")
        whole = read_vectors(vectors, self._limits, "documents.vector") if vectors else None
        if whole is not None and not any(d.tokens.vectors.cols for d in documents):
            tokens = from_vectors(whole)
        else:
            read = read_tokens([d.tokens for d in documents], self._limits, "document_tokens", "documents.tokens")
            tokens = replace(read, globals_=whole)
        ids = [self._id(d, i) for i, d in enumerate(documents)]
        return ids, tokens, [read_payload(d.payload, d.integers) for d in documents]

    def _texts(self, retriever: Retriever, documents: Sequence[wire.Document]) -> Iterator[dict[str, Any]]:
        for i, document in enumerate(documents):
            if _as_given(document):
                raise BadField("documents", "documents: give tokens for all of a batch, or for none")
            payload = read_payload(document.payload, document.integers)
            for name in ("text", "title"):
                if isinstance(text := payload.get(name), str):
                    self._limits.check("text_characters", len(text), f"documents[{i}].payload.{name}")
            if document.HasField("vector"):
                if retriever.vector_source != "given":
                    raise BadField(
                        f"documents[{i}].vector", f"documents[{i}].vector: this collection takes none; leave it out"
                    )
                (payload["vector"],) = read_vectors([document.vector], self._limits, f"documents[{i}].vector")
            yield {**payload, "id": self._id(document, i)}

    def _id(self, document: wire.Document, i: int) -> str:
        self._limits.check("id_characters", len(document.id), f"documents[{i}].id", least=1)
        return document.id


def _as_written(retriever: Retriever, document: dict[str, Any]) -> dict[str, Any]:
    """The document. InvalidArgument: what its write would be refused for, as far as it alone shows that."""
    checked(document)
    if retriever.vector_source != "given":
        no_vector([document])
    check_payload(document["id"], {k: v for k, v in document.items() if k not in ("id", "vector")})
    return document


def _as_given(document: wire.Document) -> bool:
    """Whether its vectors are stored as they come; otherwise its text is encoded."""
    return document.HasField("tokens") or (document.HasField("vector") and "text" not in document.payload.fields)


def _whole(defer: bool) -> None:
    if defer:
        raise BadField(
            "defer", "defer is true, and tokens or vectors are given, so that nothing comes later; leave it out"
        )


def _durable(durability: int) -> bool:
    if durability not in wire.Durability.values():
        raise BadField("durability", f"durability is {durability}; choose SYNC or OS")
    return durability != wire.DURABILITY_OS


def _same_collection(first: Any, rest: Iterator[Any]) -> Iterator[Any]:
    yield first
    for request in rest:
        if request.collection not in ("", first.collection):
            raise BadField("collection", f"this stream writes to {first.collection!r}, not to {request.collection!r}")
        yield request
