"""A collection on a server, with the face that `Retriever` has for one that is here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import chain, islice, repeat
from typing import TYPE_CHECKING, Any, Unpack, overload

import numpy as np

from ...index.errors import InvalidArgument, never_fails
from ...index.payload import check_id, check_ids, check_payload
from ...index.recall.calibration import DEPTHS, Calibration
from ...index.tokens import Tokens, check
from ...index.writing.live import Written
from ...retrieval.corpus import given_vectors
from ...retrieval.hit import Hit, Origin
from ...retrieval.routes.explanation import Explanation
from ...retrieval.routes.find import Queries, Several
from ...retrieval.routes.idle import warn_idle
from ...retrieval.routes.option import as_filter
from ...retrieval.routes.options import SearchKeywords, SearchOptions
from ...retrieval.text import given
from ..limits import Limits
from ..messages.explanations import read_explanation
from ..messages.filters import write_filter
from ..messages.options import write_options
from ..messages.payloads import read_payload, write_payload
from ..messages.queries import read_queries, write_query
from ..messages.tensors import write_tensor, write_tokens, write_vector
from ..wire import collections_pb2, documents_pb2, search_pb2
from ..wire.collections_pb2_grpc import CollectionServiceStub
from ..wire.documents_pb2_grpc import DocumentServiceStub
from ..wire.search_pb2_grpc import SearchServiceStub

if TYPE_CHECKING:
    from .channel import Channel

_MESSAGE = 4 << 20
"""Bytes of documents or queries sent in one message."""
_TOGETHER = 256
"""Documents, or queries, sent in one message."""
_IDS = 1_000
"""Ids that one call asks for."""

Documents = Iterable[documents_pb2.Document]


class Remote:
    """Open one with `plait.connect(...).open(name)`. Methods are those of `Retriever`;
    where they differ, they say so."""

    def __init__(self, channel: Channel, name: str):
        self.name, self._channel = name, channel
        self._documents, self._search = DocumentServiceStub(channel.grpc), SearchServiceStub(channel.grpc)
        self._whole = CollectionServiceStub(channel.grpc)

    @property
    def collection(self) -> Remote:
        """`index.collection.stats()`, `compact()` and `index_fields()` work here and there."""
        return self

    def close(self) -> None:
        """Nothing: the connection belongs to the server object."""

    def __enter__(self) -> Remote:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        return self.count()

    @never_fails
    def __repr__(self) -> str:
        return f"{self.name!r} on {self._channel.target!r}"

    @overload
    def search(  # pyright: ignore[reportOverlappingOverload]
        self,
        query: str,
        k: int = 10,
        *,
        payloads: bool = ...,
        at_least_seq: int | None = ...,
        **options: Unpack[SearchKeywords],
    ) -> list[Hit]: ...
    @overload
    def search(
        self,
        query: Several,
        k: int = 10,
        *,
        payloads: bool = ...,
        at_least_seq: int | None = ...,
        **options: Unpack[SearchKeywords],
    ) -> list[list[Hit]]: ...
    def search(
        self,
        query: str | Several,
        k: int = 10,
        *,
        payloads: bool = True,
        at_least_seq: int | None = None,
        **options: Unpack[SearchKeywords],
    ) -> list[Hit] | list[list[Hit]]:
        """As `Retriever.search`; `at_least_seq` waits for the state that a write has returned.

        InvalidArgument: the hits of one query are larger than a message of the server may be.
            Ask for fewer, or without payloads.
        """
        k, chosen = given.depth(k), SearchOptions.of(options)
        same = {"collection": self.name, "k": k, "options": write_options(chosen), "at_least_seq": at_least_seq}
        asked = _queries(query)
        found: list[list[Hit]] = []
        for batch in _split(asked, lambda pair: pair[1].ByteSize()):
            while batch:
                answers = self._answers([query for _, query in batch], same, payloads)
                for (one, _), hits in zip(batch, answers, strict=False):
                    origin = Origin(self, one, k, chosen)
                    found.append([Hit(id, score, payload, origin) for id, score, payload in hits])
                batch = batch[len(answers) :]
        return found[0] if isinstance(query, str) else found

    def _answers(
        self, queries: Sequence[search_pb2.Query], same: dict[str, Any], payloads: bool
    ) -> list[list[tuple[str, float, dict[str, Any]]]]:
        """Ids, scores and payloads of the first queries, at least of one, as far as they fit into one answer."""
        if len(queries) == 1:
            request = search_pb2.SearchRequest(query=queries[0], payload=None if payloads else False, **same)
            answer = self._channel.call(self._search.Search, request)
            warn_idle(answer.notes)
            return [[(hit.id, hit.score, read_payload(hit.payload, hit.integers)) for hit in answer.hits]]
        request = search_pb2.BatchSearchRequest(queries=queries, payload=payloads, partial=True, **same)
        answer = self._channel.call(self._search.BatchSearch, request)
        warn_idle(answer.notes)
        integers = answer.integers
        read = (read_payload(payload, integers.get(i)) for i, payload in enumerate(answer.payloads))
        held = read if payloads else repeat({}, len(answer.ids))
        rows = zip(answer.ids, np.frombuffer(answer.scores, "<f4").tolist(), held, strict=True)
        return [list(islice(rows, count)) for count in answer.counts]

    def explain(
        self,
        query: str | Tokens | Queries,
        id: str,
        k: int | None = None,
        *,
        at_least_seq: int | None = None,
        **options: Unpack[SearchKeywords],
    ) -> Explanation:
        check_ids([id])
        k = k if k is None else given.depth(k)
        ((_, asked),) = _queries([query] if isinstance(query, str) else query)
        chosen = write_options(SearchOptions.of(options))
        request = search_pb2.ExplainRequest(
            collection=self.name, query=asked, id=id, k=k, options=chosen, at_least_seq=at_least_seq
        )
        answer = self._channel.call(self._search.Explain, request)
        warn_idle(answer.notes)
        return read_explanation(answer.explanation)

    def rerank(
        self, query: str | Tokens | Queries, ids: Sequence[str], k: int | None = None, scorer: str | None = None
    ) -> list[Hit]:
        """Exact scores of given documents, best first. NotFound: one of them is not there.

        Args:
            scorer: what scores: late interaction unless it says `vector` or a term field.
        """
        ((one, asked),) = _queries([query] if isinstance(query, str) else query)
        request = search_pb2.RerankRequest(
            collection=self.name, query=asked, ids=check_ids(ids), k=k if k is None else given.depth(k), scorer=scorer
        )
        answer = self._channel.call(self._search.Rerank, request)
        named = SearchOptions(mode="vector") if scorer == "vector" else SearchOptions(field=scorer)
        exact = SearchOptions(exact=True)
        origin = Origin(self, one, len(ids), exact if scorer in (None, "tokens") else named)
        return [Hit(h.id, h.score, read_payload(h.payload, h.integers), origin) for h in answer.hits]

    def encode(self, texts: Sequence[str], **options: Unpack[SearchKeywords]) -> Queries:
        parts, chosen = [], write_options(SearchOptions.of(options))
        for batch in _split(given.texts(texts), len):
            request = search_pb2.EncodeRequest(collection=self.name, texts=batch, options=chosen)
            parts += self._channel.call(self._search.Encode, request).queries
        return read_queries(parts, Limits(), "queries")

    def add(self, documents: Iterable[dict[str, Any]], progress: Any = None, defer: bool = False) -> int:
        """Adds documents in bulk: visible all at once. AlreadyExists: an id is there; nothing is kept."""
        return self._bulk(self._written_out(documents), defer)

    def add_tokens(self, ids: Sequence[str], tokens: Tokens, payloads: Sequence[dict[str, Any]] | None = None) -> int:
        return self._bulk(_with_tokens(ids, tokens, payloads))

    def upsert(self, documents: Iterable[dict[str, Any]], durable: bool = True, defer: bool = False) -> Written:
        """Each message of at most 4 MiB and 256 documents is all or nothing."""
        return self._upsert(self._written_out(documents), durable, defer)

    def upsert_tokens(
        self, ids: Sequence[str], tokens: Tokens, payloads: Sequence[dict[str, Any]] | None = None, durable: bool = True
    ) -> Written:
        return self._upsert(_with_tokens(ids, tokens, payloads), durable)

    def encode_pending(self, limit: int | None = None, progress: Callable[[int, int], None] | None = None) -> Written:
        request = collections_pb2.EncodePendingRequest(collection=self.name, limit=limit)
        done = self._channel.finished(self._channel.call(self._whole.EncodePending, request).operation, progress)
        return Written(int(done["seq"]), int(done["count"]))

    def delete(
        self, ids: Sequence[str] | None = None, filter: Any = None, dry_run: bool = False, durable: bool = True
    ) -> Written:
        if (ids is None) == (filter is None):
            raise InvalidArgument("give either ids or a filter")
        ids = None if ids is None else check_ids(ids)
        request = documents_pb2.DeleteDocumentsRequest(
            collection=self.name, dry_run=dry_run, durability=_durability(durable)
        )
        if ids is not None:
            request.ids.ids.extend(ids)
            request.ids.SetInParent()
        else:
            write_filter(as_filter(filter), request.filter)
        answer = self._channel.call(self._documents.DeleteDocuments, request)
        return Written(answer.seq, answer.count)

    def update_payload(self, id: str, patch: dict[str, Any], durable: bool = True) -> Written:
        check_ids([id])
        request = documents_pb2.UpdatePayloadRequest(collection=self.name, id=id, durability=_durability(durable))
        check_payload(id, patch)
        write_payload(patch, request.patch, request.integers)
        return Written(self._channel.call(self._documents.UpdatePayload, request).seq, 1)

    def get(self, ids: str | Sequence[str]) -> list[dict[str, Any]]:
        """As `Retriever.get`: a text is one id."""
        found, wanted = [], list(dict.fromkeys(check_ids([ids] if isinstance(ids, str) else ids)))
        while wanted:
            request = documents_pb2.GetDocumentsRequest(collection=self.name, ids=wanted[:_IDS], partial=True)
            answer = self._channel.call(self._documents.GetDocuments, request)
            found += _read(answer.documents)
            wanted = wanted[answer.answered if answer.HasField("answered") else len(request.ids) :]
        return found

    def list_documents(self, limit: int = 100, after: str = "", filter: Any = None) -> list[dict[str, Any]]:
        check_ids([after])
        found: list[dict[str, Any]] = []
        while len(found) < limit:
            size = min(limit - len(found), Limits().page_size)
            request = documents_pb2.ListDocumentsRequest(collection=self.name, page_size=size, page_token=after)
            if filter is not None:
                write_filter(as_filter(filter), request.filter)
            page = self._channel.call(self._documents.ListDocuments, request)
            found += _read(page.documents)
            if not (after := page.next_page_token):
                break
        return found

    def count(self, filter: Any = None) -> int:
        request = documents_pb2.CountDocumentsRequest(collection=self.name)
        if filter is not None:
            write_filter(as_filter(filter), request.filter)
        return self._channel.call(self._documents.CountDocuments, request).count

    @property
    def seq(self) -> int:
        request = documents_pb2.CountDocumentsRequest(collection=self.name)
        return self._channel.call(self._documents.CountDocuments, request).seq

    def info(self) -> dict[str, Any]:
        request = collections_pb2.GetCollectionRequest(collection=self.name)
        return read_payload(self._channel.call(self._whole.GetCollection, request).collection.details)

    def stats(self) -> dict[str, Any]:
        """What `info` says; counts, bytes and segments among it."""
        return self.info()

    def index_fields(self, fields: Sequence[str]) -> None:
        """Makes these the payload fields with an index; indexes of others go."""
        request = collections_pb2.UpdateCollectionRequest(collection=self.name, fields=fields)
        request.update_mask.paths.append("fields")
        self._channel.call(self._whole.UpdateCollection, request)

    def compact(self, retrain: bool = False) -> None:
        request = collections_pb2.CompactCollectionRequest(collection=self.name, retrain=retrain)
        self._channel.finished(self._channel.call(self._whole.CompactCollection, request).operation)

    def check(self) -> list[str]:
        """What is damaged, in words; empty when all is well."""
        request = collections_pb2.CheckCollectionRequest(collection=self.name)
        return self._channel.finished(self._channel.call(self._whole.CheckCollection, request).operation)["problems"]

    def calibrate(
        self, queries: Sequence[str] | Tokens | None = None, depths: Sequence[int] = DEPTHS, progress: Any = None
    ) -> Calibration:
        request = collections_pb2.CalibrateCollectionRequest(collection=self.name, depths=depths)
        some = given.measured(queries)
        if isinstance(some, Tokens):
            request.tokens.extend(write_tokens(some, i) for i in range(len(some)))
        else:
            request.texts.extend(some or ())
        operation = self._channel.call(self._whole.CalibrateCollection, request).operation
        return Calibration.from_json(self._channel.finished(operation, progress))

    def _upsert(self, documents: Documents, durable: bool, defer: bool = False) -> Written:
        batches = _split(documents, lambda document: document.ByteSize())
        first, second = next(batches, None), next(batches, None)
        if first is None:
            return Written(self.seq, 0)
        if second is None:
            return self._write(first, durable, defer)
        rest = chain([first, second], batches)
        if not durable:
            done = [self._write(batch, durable, defer) for batch in rest]
            return Written(done[-1].seq, sum(d.count for d in done))
        requests = (documents_pb2.IngestDocumentsRequest(collection=self.name, documents=b, defer=defer) for b in rest)
        *_, last = self._channel.stream(self._documents.IngestDocuments, requests)
        return Written(last.seq, last.count)

    def _write(self, documents: Sequence[documents_pb2.Document], durable: bool, defer: bool) -> Written:
        request = documents_pb2.UpsertDocumentsRequest(
            collection=self.name, documents=documents, durability=_durability(durable), defer=defer
        )
        answer = self._channel.call(self._documents.UpsertDocuments, request)
        return Written(answer.seq, answer.count)

    def _bulk(self, documents: Documents, defer: bool = False) -> int:
        batches = _split(documents, lambda document: document.ByteSize())
        if (first := next(batches, None)) is None:
            return 0
        wire = documents_pb2.IngestDocumentsRequest
        sent = (wire(collection=self.name, documents=b, bulk=True, defer=defer) for b in chain([first], batches))
        requests = chain(sent, [wire(last=True)])
        (answer,) = self._channel.stream(self._documents.IngestDocuments, requests)
        return answer.count

    def _written_out(self, documents: Iterable[dict[str, Any]]) -> Iterator[documents_pb2.Document]:
        for fields in given.documents(documents):
            width = self._given_width if isinstance(fields, Mapping) and "vector" in fields else 0
            document = documents_pb2.Document(id=given.checked(fields, text=not width)["id"])
            own = {"id"}
            if width:
                own.add("vector")
                document.vector.CopyFrom(write_tensor(given_vectors([fields], width)))
            _put_payload(document, {k: v for k, v in fields.items() if k not in own})
            yield document

    @cached_property
    def _given_width(self) -> int:
        """Dimensions of the global vectors that documents come with; 0: a field `vector` is payload."""
        info = self.info()
        return info["vector"] if info["vector_source"] == "given" else 0


def _with_tokens(
    ids: Sequence[str], tokens: Tokens, payloads: Sequence[dict[str, Any]] | None
) -> Iterator[documents_pb2.Document]:
    ids, tokens = [check_id(id) for id in check_ids(ids)], check(tokens)
    if len(ids) != len(tokens) or (payloads is not None and len(payloads) != len(ids)):
        counts = len(ids), len(tokens), len(ids if payloads is None else payloads)
        raise InvalidArgument("{} ids, {} documents of tokens, {} payloads; give one of each".format(*counts))
    for i, id in enumerate(ids):
        document = documents_pb2.Document(id=id, tokens=write_tokens(tokens, i), vector=write_vector(tokens, i))
        if payloads is not None:
            _put_payload(document, payloads[i])
        yield document


def _put_payload(document: documents_pb2.Document, payload: dict[str, Any]) -> None:
    check_payload(document.id, payload)
    write_payload(payload, document.payload, document.integers)


def _queries(query: str | Sequence[str] | Tokens | Queries) -> list[tuple[str | Queries, search_pb2.Query]]:
    """Each query as a hit remembers it, and as it is sent."""
    if isinstance(query, Tokens | Queries):
        encoded = given.queries(query)
        ones = [encoded] if len(encoded) == 1 else [encoded.one(i) for i in range(len(encoded))]
        return [(one, search_pb2.Query(encoded=write_query(one))) for one in ones]
    return [(text, search_pb2.Query(text=text)) for text in given.texts(query)]


def _split(items: Iterable[Any], weigh: Callable[[Any], int]) -> Iterator[list[Any]]:
    """Runs of items that fit into one message."""
    batch, weight = [], 0
    for item in items:
        size = weigh(item)
        if batch and (weight + size > _MESSAGE or len(batch) == _TOGETHER):
            yield batch
            batch, weight = [], 0
        batch.append(item)
        weight += size
    if batch:
        yield batch


def _read(documents: Documents) -> list[dict[str, Any]]:
    return [{"id": d.id, **read_payload(d.payload, d.integers)} for d in documents]


def _durability(durable: bool) -> Any:
    return documents_pb2.DURABILITY_SYNC if durable else documents_pb2.DURABILITY_OS
