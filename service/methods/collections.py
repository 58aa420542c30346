"""CollectionService: whole collections are made, described, renamed, rewritten and deleted."""

from __future__ import annotations

from functools import partial
from typing import Any

from ...index.errors import FailedPrecondition, PlaitError
from ...index.reading.check import check_collection
from ...index.recall.calibration import DEPTHS
from ...retrieval.encoders.encoder import EMBEDDED
from ...retrieval.text.options import NO_ENCODER
from ..hosting.collections import Collections, NoCollection, Opened
from ..hosting.operations import Operations, Report, start_on
from ..limits import BadField
from ..messages.brief import brief
from ..messages.making import read_making
from ..messages.payloads import write_payload
from ..messages.tensors import read_tokens
from ..rpc.calls import Call
from ..settings import Settings
from ..wire import collections_pb2 as wire

_PAGE = 100


class CollectionMethods:
    def __init__(self, collections: Collections, operations: Operations, settings: Settings):
        self._collections, self._start = collections, partial(start_on, operations, collections)
        self._limits, self._allowed = settings.limits, settings.encoders

    def create_collection(self, request: wire.CreateCollectionRequest, call: Call) -> wire.CreateCollectionResponse:
        for name in ("dim", "vector_dim"):
            if request.HasField(name):
                self._limits.check("dim", getattr(request, name), name, least=1)
        options = read_making(request)
        self._known(options.encoder or EMBEDDED, "encoder", (EMBEDDED, NO_ENCODER))
        for terms in options.makers:
            self._known("bm25" if terms.startswith("bm25:") else terms, "terms", ("bm25", "binary"))
        for limit, values, field in (
            ("indexed_fields", request.fields, "fields"),
            ("reduce_steps", request.reduce, "reduce"),
            ("term_fields", request.term_fields, "term_fields"),
        ):
            self._limits.check(limit, len(values), f"the number of {field}")
        self._collections.create(request.collection, **options.settings())
        return wire.CreateCollectionResponse(collection=self._described(request.collection))

    def get_collection(self, request: wire.GetCollectionRequest, call: Call) -> wire.GetCollectionResponse:
        return wire.GetCollectionResponse(collection=self._described(request.collection))

    def list_collections(self, request: wire.ListCollectionsRequest, call: Call) -> wire.ListCollectionsResponse:
        size = request.page_size if request.HasField("page_size") else min(_PAGE, self._limits.page_size)
        self._limits.check("page_size", size, "page_size", least=1)
        names = [name for name in self._collections.names() if name > request.page_token]
        response = wire.ListCollectionsResponse(next_page_token=names[size - 1] if len(names) > size else "")
        for name in names[:size]:
            call.check()
            try:
                described = self._described(name)
                described.ClearField("details")
            except NoCollection:
                continue  # deleted meanwhile
            except PlaitError as error:
                described = wire.Collection(name=name, problem=brief(str(error)))
            response.collections.append(described)
        return response

    def update_collection(self, request: wire.UpdateCollectionRequest, call: Call) -> wire.UpdateCollectionResponse:
        asked = list(request.update_mask.paths)
        known = set(wire.CreateCollectionRequest.DESCRIPTOR.fields_by_name) - {"collection"}
        if not asked or not known.issuperset(asked):
            shown = f"update_mask is {asked or 'empty'}; name what is to be changed, `fields`"
            raise BadField("update_mask", shown)
        if fixed := sorted(set(asked) - {"fields"}):
            why = f"{', '.join(fixed)} cannot be changed once a collection is made"
            raise FailedPrecondition(f"{why}; make another one, and let an alias stand for it")
        self._limits.check("indexed_fields", len(request.fields), "the number of fields")
        with self._collections.use(request.collection) as opened:
            opened.retriever.collection.index_fields(request.fields)
        return wire.UpdateCollectionResponse(collection=self._described(request.collection))

    def delete_collection(self, request: wire.DeleteCollectionRequest, call: Call) -> wire.DeleteCollectionResponse:
        if request.confirm_name != request.collection:
            shown = f"confirm_name is {request.confirm_name!r}, collection {request.collection!r}"
            raise BadField("confirm_name", f"{shown}; give the name of what is to be deleted twice")
        self._collections.delete(request.collection)
        return wire.DeleteCollectionResponse()

    def set_alias(self, request: wire.SetAliasRequest, call: Call) -> wire.SetAliasResponse:
        before = self._collections.set_alias(request.alias, request.collection or None)
        return wire.SetAliasResponse(before=before or "")

    def compact_collection(self, request: wire.CompactCollectionRequest, call: Call) -> wire.CompactCollectionResponse:
        def work(opened: Opened, report: Report) -> dict[str, Any]:
            before = opened.retriever.collection.stats()
            opened.retriever.collection.compact(request.retrain)
            return {"before": before, "after": opened.retriever.collection.stats()}

        return wire.CompactCollectionResponse(operation=self._start("compact", request.collection, work))

    def check_collection(self, request: wire.CheckCollectionRequest, call: Call) -> wire.CheckCollectionResponse:
        def work(opened: Opened, report: Report) -> dict[str, Any]:
            problems = check_collection(opened.retriever.collection.path)
            return {"ok": not problems, "problems": problems}

        return wire.CheckCollectionResponse(operation=self._start("check", request.collection, work))

    def encode_pending(self, request: wire.EncodePendingRequest, call: Call) -> wire.EncodePendingResponse:
        if request.HasField("limit") and not request.limit:
            raise BadField("limit", "limit is 0; it must be at least 1")

        def work(opened: Opened, report: Report) -> dict[str, Any]:
            limit = request.limit if request.HasField("limit") else None
            done = opened.retriever.encode_pending(limit, report)
            return {"count": done.count, "seq": done.seq}

        return wire.EncodePendingResponse(operation=self._start("encode", request.collection, work))

    def calibrate_collection(
        self, request: wire.CalibrateCollectionRequest, call: Call
    ) -> wire.CalibrateCollectionResponse:
        if request.texts and request.tokens:
            raise BadField("texts", "give texts or tokens, not both")
        self._limits.check("batch_queries", len(request.texts) + len(request.tokens), "texts")
        self._limits.check("depths", len(request.depths), "the number of depths")
        for k in request.depths:
            self._limits.check("k", k, "depths", least=1)
        tokens = read_tokens(request.tokens, self._limits, "query_tokens", "tokens") if request.tokens else None

        def work(opened: Opened, report: Report) -> dict[str, Any]:
            queries = tokens if tokens is not None else list(request.texts) or None
            return opened.retriever.calibrate(queries, list(request.depths) or DEPTHS, report).to_json()

        return wire.CalibrateCollectionResponse(operation=self._start("calibrate", request.collection, work))

    def _described(self, name: str) -> wire.Collection:
        with self._collections.use(name) as opened:
            info = opened.retriever.info()
        aliases = self._collections.aliases_of(opened.name)
        described = wire.Collection(name=opened.name, aliases=aliases, bytes=info["bytes"]["total"])
        for field in ("documents", "tokens", "pending", "seq", "dim", "system", "store"):
            setattr(described, field, info[field])
        write_payload(info, described.details)
        return described

    def _known(self, name: str, field: str, known: tuple[str, ...]) -> None:
        """A name from outside could be a path, or an id to download: only what needs neither is taken."""
        if name not in known and name not in self._allowed:
            raise BadField(field, f"{field} is {name!r}; this server takes {', '.join([*known, *self._allowed])}")
