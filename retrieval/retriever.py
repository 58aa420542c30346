"""Text in, ranked documents out: a collection together with the encoder, recipe and system it was made for."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from itertools import chain, islice
from pathlib import Path
from typing import Any, Unpack, overload

from ..device.placement import placement
from ..index.collection import Collection
from ..index.disk.paths import absolute, undone_on_error
from ..index.errors import InvalidArgument, Unavailable, never_fails
from ..index.payload import check_ids
from ..index.recall.calibration import DEPTHS, Calibration
from ..index.stores import Progress
from ..index.tokens import Tokens
from ..index.writing.bulk import WRITE
from ..index.writing.live import Written
from ..index.writing.maintenance import Policy
from .description import described, shown
from .encoders.encoder import EMBEDDED, EncoderOptions
from .hit import Hit, Origin
from .routes.explanation import Explanation, explained
from .routes.find import Queries, Several, compiled, run, terms_of
from .routes.idle import warn_idle
from .routes.option import as_filter
from .routes.options import SearchKeywords, SearchOptions
from .routes.route import Route, Sides
from .routes.router import Router
from .settings import Machine
from .systems import System, system_named
from .text import given
from .text.creation import check_machine, encoding_of, prepare
from .text.documents import Batch, batches, check_texts, of_queries
from .text.encoding import SAMPLE, Encoding
from .text.freshness import Pending, at_once
from .text.learning import learn, learned
from .text.places import moved
from .text.term_side import TermSide, also_called, free_fields, restored, stored_fields


class Retriever:
    """An open collection with its text side. Make one with `plait.create`, get one back with `plait.open`.

    Examples:
        >>> index = plait.create(folder / "news")
        >>> index.add([{"id": "a", "text": "Bread rises."}, {"id": "b", "text": "The moon pulls the sea."}])
        2
        >>> index
        Retriever('news': 2 documents, 13 tokens of 384 float16, auto; minilm)
        >>> [hit.id for hit in index.search("why does bread rise", k=1)]
        ['a']
        >>> index.upsert([{"id": "a", "text": "Bread rises because yeast ferments the flour."}]).count
        1
        >>> index.get("a"), index.count(), index.delete(["b"]).count
        ([{'id': 'a', 'text': 'Bread rises because yeast ferments the flour.'}], 2, 1)
    """

    def __init__(
        self,
        path: str | Path,
        *,
        device: str = "cpu",
        threads: int | None = None,
        cache: Path | None = None,
        policy: Policy | None = Policy(),
        verify: bool = True,
        device_memory: int | None = None,
        encode_pending: bool = False,
        encoder: str | os.PathLike[str] | Mapping[str, str] | None = None,
    ):
        """The arguments are those of `plait.open`, which documents them."""
        self.device, self.threads, self._cache = device, threads, None if cache is None else absolute(cache)
        machine = {"device": device, "threads": threads, "place": placement(device, device_memory)}
        self._encoding: Encoding | None = None
        self.pending = Pending(self)
        chore = self.pending.step if encode_pending else None
        self.collection = Collection(path, policy=policy, verify=verify, chore=chore, **machine)
        with self.collection.catalog.reading() as view:
            self.settings: dict[str, Any] = view.meta("retrieval")
        try:
            self._elsewhere = moved(self.settings, encoder)
        except InvalidArgument:
            self.close()
            raise
        self.system: System = system_named(self.settings["system"])
        stored = stored_fields(self.settings)
        self._router = Router(self.collection, self.system, also_called(stored), free_fields(stored))
        if encode_pending and len(self.pending):
            with suppress(Unavailable):
                _ = self.collection.live

    @classmethod
    def create(
        cls,
        path: str | Path,
        *,
        system: str | None = None,
        encoder: str | os.PathLike[str] | None = EMBEDDED,
        options: EncoderOptions = EncoderOptions(),
        reduce: Sequence[str] = (),
        dim: int | None = None,
        terms: str | Mapping[str, str] | None = None,
        vector: int | bool | None = None,
        store: str = "auto",
        precision: str = "float16",
        fields: Sequence[str] = (),
        **machine: Unpack[Machine],
    ) -> Retriever:
        """Makes an empty collection. `plait.create` documents the settings; `machine` is as for opening."""
        check_machine(machine)
        path = absolute(path)
        place = {"device": machine.get("device", "cpu"), "threads": machine.get("threads")}
        made = prepare(system, encoder, options, reduce, dim, terms, vector, store, place)
        kept = {"terms": made.terms, "precision": precision, "vector": made.vector}
        Collection.create(path, made.dim, made.store, {"retrieval": made.settings}, fields, **kept).close()
        with undone_on_error(path):
            retriever = cls(path, **machine)
        if made.encoding is not None:
            retriever.encoding = replace(made.encoding, cache=retriever._cache)
        return retriever

    def close(self, wait_s: float | None = None) -> bool:
        return self.collection.close(wait_s)

    def __enter__(self) -> Retriever:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        return self.count()

    @never_fails
    def __repr__(self) -> str:
        return shown(self.collection, self.settings)

    @property
    def encoding(self) -> Encoding:
        """The text side, loaded when first needed. FailedPrecondition: this collection takes token vectors only."""
        if self._encoding is None:
            place = {"device": self.device, "threads": self.threads}
            made = replace(encoding_of(self.settings, self._elsewhere, place), cache=self._cache)
            with self.collection.catalog.reading() as view:
                self._encoding = made.restored(view.resource)
        return self._encoding

    @encoding.setter
    def encoding(self, encoding: Encoding) -> None:
        self._encoding = encoding

    @cached_property
    def term_sides(self) -> dict[str, TermSide]:
        """What makes terms of texts, by field."""
        return restored(stored_fields(self.settings), self._elsewhere, device=self.device, threads=self.threads)

    def add(self, documents: Iterable[dict[str, Any]], progress: Progress | None = None, defer: bool = False) -> int:
        """Encodes and adds documents in bulk: straight into a segment, visible all at once. Returns how many.

        Each is a dict with `id`, `text`, perhaps `title`, `vector` where this collection is given vectors, and any JSON
        fields, which become its payload. The first call learns what the recipe needs from up to 2,048 documents.
        `defer`: as in `upsert`.

        Raises:
            AlreadyExists: an id occurs twice (`upsert` replaces); nothing of this call is kept.
        """
        stream = given.documents(documents)
        with self.collection.builder(WRITE) as builder:
            builder.refuse_unfinished()
            head = list(islice(stream, SAMPLE))
            if not defer:
                learn(self, builder, head)
            try:
                for batch in self.batches(chain(head, stream), defer):
                    builder.add(*batch, defer=defer)
            except BaseException:
                builder.discard()
                raise
            return builder.publish(progress)

    def add_tokens(self, ids: Sequence[str], tokens: Tokens, payloads: Sequence[dict[str, Any]] | None = None) -> int:
        """Adds token vectors in bulk, as they are, under these ids; visible when this returns. Returns how many."""
        with self.collection.builder(WRITE) as builder:
            builder.refuse_unfinished()
            builder.add(ids, tokens, payloads)
            return builder.publish()

    def upsert(self, documents: Iterable[dict[str, Any]], durable: bool = True, defer: bool = False) -> Written:
        """Writes documents, searchable at once; one that is there under the same id is replaced. All of them, or none.

        Args:
            documents: dicts as for `add`, encoded 256 at a time and written in one transaction; beyond 64 MiB they wait
                in a file.
            durable: on the disk when this returns; otherwise the last writes may be lost if the machine dies.
            defer: what a model computes comes later (`encode_pending`). Until then a document is found by the term
                fields that need no model for documents (bm25, binary, beta); it scores 0 where
                `rerank` goes by what it lacks.

        Raises:
            InvalidArgument: `defer` where no term field does without a model, or nothing needs one.
        """
        stream = given.documents(documents)
        if not (head := list(islice(stream, SAMPLE))):
            return Written(self.seq, 0)
        if not defer and not learned(self):
            with self.collection.builder() as builder:
                learn(self, builder, head)
        return self.collection.live.upsert_all(self.batches(chain(head, stream), defer), durable, defer)

    def upsert_tokens(
        self, ids: Sequence[str], tokens: Tokens, payloads: Sequence[dict[str, Any]] | None = None, durable: bool = True
    ) -> Written:
        """As `upsert`, with token vectors, in one transaction."""
        return self.collection.live.upsert(ids, tokens, payloads, durable)

    def encode_pending(self, limit: int | None = None, progress: Callable[[int, int], None] | None = None) -> Written:
        """Computes what `defer` left out, batch by batch, each durable and found by everything when it is written.

        The longest waiting come first. A document that is replaced or deleted meanwhile is left alone.

        Args:
            limit: so many documents at most; None: until none waits.
            progress: called as progress(done, total).
        """
        return self.pending.encode(limit, progress)

    def delete(
        self, ids: Sequence[str] | None = None, filter: Any = None, dry_run: bool = False, durable: bool = True
    ) -> Written:
        """Deletes documents by id, or all that satisfy a filter. Ids that are not there are ignored.

        Args:
            filter: a condition as `search` takes it; give either this or ids.
            dry_run: only count what would be deleted.
        """
        if (ids is None) == (filter is None):
            raise InvalidArgument("give either ids or a filter")
        ids = None if ids is None else check_ids(ids)
        if dry_run:
            return Written(self.seq, len(self.get([*{*ids}])) if ids is not None else self.count(filter))
        live = self.collection.live
        return live.delete(ids, durable) if ids is not None else live.delete_where(as_filter(filter), durable)

    def update_payload(self, id: str, patch: dict[str, Any], durable: bool = True) -> Written:
        """Changes payload fields without encoding again; a field set to None is removed. NotFound: no such document."""
        encoded = {"id", "text", "title", *(["vector"] if self.vector_source == "given" else [])}
        if changed := encoded & patch.keys():
            raise InvalidArgument(
                f"{min(changed)} is what the document was encoded from, or its name; upsert the document instead"
            )
        return self.collection.live.update_payload(id, patch, durable)

    def get(self, ids: str | Sequence[str]) -> list[dict[str, Any]]:
        """The documents with these ids as they were written, in this order, each once, those that are there. A text is
        one id."""
        ids = check_ids([ids] if isinstance(ids, str) else ids)
        with self.collection.catalog.reading() as view:
            found = view.by_ids(ids)
        return [{"id": id, **found[id].payload} for id in dict.fromkeys(ids) if id in found]

    def list_documents(self, limit: int = 100, after: str = "", filter: Any = None) -> list[dict[str, Any]]:
        """Documents by rising id. For the next page give the last id as `after`."""
        with self.collection.catalog.reading() as view:
            return [{"id": d.id, **d.payload} for d in view.page(after, limit, *compiled(view, filter))]

    def count(self, filter: Any = None) -> int:
        """Documents that are there, or those that satisfy a filter."""
        with self.collection.catalog.reading() as view:
            return view.count(*compiled(view, filter))

    @property
    def seq(self) -> int:
        """The sequence number of the last write."""
        with self.collection.catalog.reading() as view:
            return view.meta("seq")

    @property
    def has_tokens(self) -> bool:
        """Whether documents have token vectors."""
        return self.collection.dim > 0

    @property
    def vector_source(self) -> str | None:
        """Where global vectors come from: `encoder`, `terms` (what makes them makes these),
        `given`; None: there are none."""
        return self.settings.get("vector")

    def batches(self, documents: Iterable[dict[str, Any]], defer: bool = False) -> Iterator[Batch]:
        """Documents as the writer takes them; with `defer`, what of them needs no model."""
        sides, source = self.term_sides, self.vector_source
        if defer:
            free = {name: sides[name] for name in at_once(self.settings)}
            return batches(documents, None, free, None, 0)
        encode = self.encoding.documents if self.has_tokens else None
        return batches(documents, encode, sides, source, self.collection.vector)

    @overload
    def search(  # pyright: ignore[reportOverlappingOverload]
        self, query: str, k: int = 10, *, payloads: bool = True, **options: Unpack[SearchKeywords]
    ) -> list[Hit]: ...
    @overload
    def search(
        self, query: Several, k: int = 10, *, payloads: bool = True, **options: Unpack[SearchKeywords]
    ) -> list[list[Hit]]: ...
    def search(
        self, query: str | Several, k: int = 10, *, payloads: bool = True, **options: Unpack[SearchKeywords]
    ) -> list[Hit] | list[list[Hit]]:
        """The k best documents for one query, or for each of several.

        Args:
            query: a text, several texts, query vectors (`Tokens`, `from_vectors`), or what `encode` made of texts.
            k: documents wanted; fewer come back when fewer were retrieved.
            payloads: False: hits have empty payloads.
            **options: see `SearchOptions`. One that changes nothing is told by an `IdleOption` warning.
        """
        k, chosen = given.depth(k), SearchOptions.of(options)
        route = self.route(chosen, k)
        warn_idle(route.notes)
        texts = None if isinstance(query, Tokens | Queries) else given.texts(query)
        queries = self.queries(route, query if texts is None else texts)  # type: ignore[arg-type]
        found = []
        with self.collection.snapshot() as snapshot:
            for i, hits in enumerate(run(snapshot, route, queries, k)):
                origin = Origin(self, texts[i] if texts is not None else queries.one(i), k, chosen)
                pairs = zip(snapshot.documents(hits.docs), hits.scores, strict=True)
                found.append([Hit(d.id, float(s), d.payload if payloads else {}, origin) for d, s in pairs])
        return found[0] if isinstance(query, str) else found

    def explain(
        self, query: str | Tokens | Queries, id: str, k: int | None = None, **options: Unpack[SearchKeywords]
    ) -> Explanation:
        """Why the document `id` has its score for a query, whether or not a search would return it.

        With `k` also its way through a search for the k best: its rank at each stage, and where it falls out.
        """
        route = self.route(SearchOptions.of(options), k if k is None else given.depth(k))
        warn_idle(route.notes)
        queries = self.queries(route, [query] if isinstance(query, str) else query)
        with self.collection.snapshot() as snapshot:
            return explained(snapshot, route, queries, id, query if isinstance(query, str) else "", self.term_sides, k)

    def calibrate(
        self, queries: Sequence[str] | Tokens | None = None, depths: Sequence[int] = DEPTHS, progress: Any = None
    ) -> Calibration:
        """Measures recall and time of search parameters against exact search, for `target_recall`
        (index/recall/frontier.py).

        Args:
            queries: texts or token vectors like those that will be asked; None draws some from the documents.
            depths: values of k.
            progress: called as progress(done, total).
        """
        if self.system.scoring.tokens != "all":
            raise InvalidArgument(f"{self.system.name} scores retrieved tokens only; recall is measured for colbert")
        first = next(iter(self.collection.schema.terms), None)
        both = SearchOptions(lanes=("tokens", first or "")) if self.has_tokens else SearchOptions(mode="terms")
        route = self.route(both if first else SearchOptions(), None)
        some = given.measured(queries)
        asked = Queries() if some is None else self.queries(route, some)
        terms = terms_of(asked, first) if first and asked.terms is not None else None
        return self.collection.calibrate(asked.tokens, depths, progress, terms, route.bm25.get(first or ""))

    def info(self) -> dict[str, Any]:
        """What this collection is, holds, weighs and finds."""
        return described(self.collection, self.settings, self.pending.problem)

    def encode(self, texts: Sequence[str], **options: Unpack[SearchKeywords]) -> Queries:
        """Queries made ready for `search` with the same options, which takes them in place of texts."""
        return self.queries(self.route(SearchOptions.of(options), None), [*texts])

    def queries(self, route: Route, asked: list[str] | Tokens | Queries) -> Queries:
        """What the route needs of queries: made from their texts, or as given."""
        if isinstance(asked, Tokens | Queries):
            return given.queries(asked, route.sides)
        self.check_texts(route)
        return self.encoded(route.sides, given.texts(asked))

    def check_texts(self, route: Route) -> None:
        """InvalidArgument: the route needs of a text what this collection does not make."""
        check_texts(route, bool(self.collection.schema.terms), self.vector_source)

    def encoded(self, sides: Sides, texts: Sequence[str]) -> Queries:
        """These sides of texts, for a route that `check_texts` has let pass."""
        return of_queries(sides, texts, self._tokens, self.term_sides, self.vector_source)

    def _tokens(self, texts: Sequence[str]) -> Tokens:
        learned(self)
        return self.encoding.queries(texts)

    def route(self, options: SearchOptions, k: int | None) -> Route:
        """The way of a search with these options; `Router.route` has the arguments and errors."""
        return self._router.route(options, k, lambda field: self.term_sides[field].embed)
