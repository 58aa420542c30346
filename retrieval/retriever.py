"""Text in, ranked documents out: a collection together with the encoder, recipe and system it was made for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import chain, islice
from pathlib import Path
from typing import Any, overload

import numpy as np

from ..index.builder import Builder, Progress
from ..index.collection import Collection
from ..index.errors import FailedPrecondition, InvalidArgument
from ..index.tokens import Tokens
from .corpus import document_text
from .encoder import EMBEDDED, EncoderOptions, load_encoder
from .encoding import Encoding
from .explanation import Explanation, explanation
from .projection import from_bytes, to_bytes
from .recipe import Statistics, needs_attention, parse
from .systems import System, system_named

BATCH = 256
"""Documents encoded, reduced and committed together."""
SAMPLE = 2048
"""Documents from which document frequencies and axes are learned."""


@dataclass(frozen=True)
class Hit:
    """A retrieved document."""

    id: str
    score: float
    payload: dict[str, Any]
    _retriever: Retriever
    _query: str | Tokens
    _search: dict[str, Any]

    def explain(self) -> Explanation:
        """The token pairs that make up the score."""
        return self._retriever.explain(self._query, self.id, **self._search)

    def as_json(self) -> dict[str, Any]:
        return {"id": self.id, "score": self.score, "payload": self.payload}


class Retriever:
    """An open collection with its text side. Make one with `plait.create`, get one back with `plait.open`."""

    def __init__(self, path: str | Path, *, device: str = "cpu", threads: int | None = None, cache: Path | None = None):
        self.collection = Collection(Path(path), device=device)
        self.device, self.threads, self._cache = device, threads, cache
        self.settings: dict[str, Any] = self.collection.catalog.meta("retrieval")
        self.system: System = system_named(self.settings["system"])

    @classmethod
    def create(
        cls,
        path: str | Path,
        *,
        system: str = "colbert",
        encoder: str | None = EMBEDDED,
        options: EncoderOptions = EncoderOptions(),
        reduce: Sequence[str] = (),
        dim: int | None = None,
        store: str = "exact",
        device: str = "cpu",
        threads: int | None = None,
        cache: Path | None = None,
    ) -> Retriever:
        """Makes an empty collection in a new or empty folder.

        Args:
            system: `colbert` or `xtr`.
            encoder: `minilm` (embedded), a checkpoint folder or hub id, or None: token vectors are given, `dim` says how wide.
            options: what to change about the encoder.
            reduce: reducers in order, such as `["pool:2"]` (retrieval/recipe.py has the grammar). Cannot be changed later.
            dim: with an encoder, project to this many dimensions by PCA (costs up to 2 points of nDCG@10 at 128).
            store: `exact` or `faiss:FACTORY`.
            device: where encoder and FAISS run.
            threads: CPU threads; None: the libraries' own choice.
            cache: folder that keeps encoder output for later runs.
        """
        system_named(system)
        steps = parse(reduce)
        if encoder is None:
            if dim is None or steps:
                raise InvalidArgument("without an encoder, give dim, and no reducers: vectors are stored as they come")
            width, stored = dim, None
        else:
            options = replace(options, attention=options.attention or needs_attention(steps))
            spec = load_encoder(encoder, options, device=device, threads=threads).spec
            if dim is not None and not 1 <= dim <= spec.dim:
                raise InvalidArgument(f"dim is {dim}; it must lie between 1 and the encoder's {spec.dim} dimensions")
            width, stored = dim or spec.dim, {"name": encoder, "options": asdict(options), "spec": asdict(spec)}
        settings = {"system": system, "encoder": stored, "recipe": [s.spec for s in steps], "dim": dim}
        Collection.create(Path(path), width, store, {"retrieval": settings}, device).close()
        return cls(path, device=device, threads=threads, cache=cache)

    def close(self) -> None:
        self.collection.close()

    def __len__(self) -> int:
        return len(self.collection)

    @cached_property
    def encoding(self) -> Encoding:
        """The text side, loaded when first needed. FailedPrecondition: this collection takes token vectors only."""
        stored = self.settings["encoder"]
        if stored is None:
            raise FailedPrecondition(
                "this collection was made without an encoder; give token vectors (add_tokens, Tokens)"
            )
        options = EncoderOptions(**stored["options"])
        encoder = load_encoder(stored["name"], options, device=self.device, threads=self.threads)
        if encoder.spec.fingerprint != stored["spec"]["fingerprint"]:
            raise FailedPrecondition(
                f"the encoder {stored['name']} has changed since this collection was built; restore it, or build anew"
            )
        steps, dim = parse(self.settings["recipe"]), self.settings["dim"]
        return Encoding(encoder, steps, dim, *self._learned(), cache=self._cache)

    def add(self, documents: Iterable[dict[str, Any]], progress: Progress | None = None) -> int:
        """Encodes and adds documents, visible all at once when this returns. Returns how many.

        Each is a dict with `id`, `text`, perhaps `title`, and any JSON fields, which become its payload. The first call
        learns what the recipe needs from up to 2,048 documents.

        Raises:
            AlreadyExists: an id occurs twice; nothing of this call is kept.
        """
        stream = iter(documents)
        with self.collection.writer(threads=self.threads) as writer:
            _refuse_unfinished(writer)
            head = list(islice(stream, SAMPLE))
            self.fit(writer, head)
            try:
                for batch in self.batches(chain(head, stream)):
                    writer.add(*batch)
            except BaseException:
                writer.discard()
                raise
            return writer.publish(progress)

    def add_tokens(self, ids: Sequence[str], tokens: Tokens, payloads: Sequence[dict[str, Any]] | None = None) -> int:
        """Adds token vectors as they are, under these ids; visible when this returns. Returns how many."""
        with self.collection.writer(threads=self.threads) as writer:
            _refuse_unfinished(writer)
            writer.add(ids, tokens, payloads)
            return writer.publish()

    def fit(self, writer: Builder, sample: Sequence[dict[str, Any]]) -> None:
        """Learns from sample documents what the recipe needs, once for ever, and stores it."""
        if self.encoding.fitted or not sample:
            return
        fitted = self.encoding.fit([document_text(_checked(d)) for d in sample])
        learned: dict[str, bytes] = {}
        if fitted.statistics is not None:
            learned["document_frequency"] = to_bytes(fitted.statistics.document_frequency)
            learned["stop_ids"] = to_bytes(fitted.statistics.stop_ids)
            learned["sampled"] = to_bytes(np.array(fitted.statistics.documents))
        if fitted.axes is not None:
            learned["axes"] = to_bytes(fitted.axes)
        writer.put(resources=learned)
        self.__dict__["encoding"] = fitted

    def batches(self, documents: Iterable[dict[str, Any]]) -> Iterator[tuple[list[str], Tokens, list[dict[str, Any]]]]:
        """Documents as the writer takes them: ids, tokens, payloads."""
        stream = map(_checked, documents)
        while batch := list(islice(stream, BATCH)):
            tokens = self.encoding.documents([document_text(d) for d in batch])
            yield [d["id"] for d in batch], tokens, [{k: v for k, v in d.items() if k != "id"} for d in batch]

    @overload
    def search(self, query: str, k: int = 10, **search: Any) -> list[Hit]: ...  # pyright: ignore[reportOverlappingOverload]
    @overload
    def search(self, query: Sequence[str] | Tokens, k: int = 10, **search: Any) -> list[list[Hit]]: ...
    def search(self, query: str | Sequence[str] | Tokens, k: int = 10, **search: Any) -> list[Hit] | list[list[Hit]]:
        """The k best documents for one query, or for each of several.

        Args:
            query: a text, several texts, or query token vectors.
            k: documents wanted; fewer come back when fewer were retrieved.
            **search: `k_token`, `nprobe`, `candidates` (see `SearchParams`), `missing` (see `Scoring`), or `exact=True`:
                compare with every stored token, whatever the store.
        """
        tokens = (
            query if isinstance(query, Tokens) else self._encoded([query] if isinstance(query, str) else list(query))
        )
        scoring, params, exact = self._choices(search)
        ranked = self.collection.search(tokens, k, scoring, params, self.threads, exact)
        asked = [tokens.take([i]) for i in range(len(tokens))] if isinstance(query, Tokens) else None
        texts = [query] if isinstance(query, str) else query
        found = []
        for i, hits in enumerate(ranked):
            documents = self.collection.documents(hits.docs)
            one = asked[i] if asked else str(texts[i])  # type: ignore[index]
            found.append(
                [Hit(d.id, float(s), d.payload, self, one, search) for d, s in zip(documents, hits.scores, strict=True)]
            )
        return found[0] if isinstance(query, str) else found

    def explain(self, query: str | Tokens, id: str, **search: Any) -> Explanation:
        """Why the document `id` has its score for a query (whether or not a search would return it)."""
        tokens = query if isinstance(query, Tokens) else self._encoded([query])
        document = self.collection.document(id)
        scoring, params, exact = self._choices(search)
        alignment = self.collection.explain(tokens, document.number, scoring, params, exact)
        text = document_text(document.payload) if "text" in document.payload else ""
        return explanation(id, tokens, query if isinstance(query, str) else "", alignment, text)

    def info(self) -> dict[str, Any]:
        """What this collection is, holds and weighs."""
        return {
            **self.collection.info(),
            "system": self.system.name,
            "recipe": self.settings["recipe"],
            "encoder": self.settings["encoder"],
        }

    def _encoded(self, texts: list[str]) -> Tokens:
        for text in texts:
            if not isinstance(text, str):
                raise InvalidArgument(f"a query must be text, got {type(text).__name__}")
        return self.encoding.queries(texts)

    def _choices(self, search: dict[str, Any]):
        search = dict(search)
        exact = bool(search.pop("exact", False))
        scoring = replace(self.system.scoring, missing=search.pop("missing", self.system.scoring.missing))
        try:
            return scoring, replace(self.system.params, **search), exact
        except TypeError:
            known = ", ".join([*vars(self.system.params), "missing", "exact"])
            raise InvalidArgument(f"unknown search parameter in {sorted(search)}; known are {known}") from None

    def _learned(self) -> tuple[Statistics | None, np.ndarray | None]:
        stored = {k: self.collection.catalog.resource(k) for k in ("document_frequency", "stop_ids", "sampled", "axes")}
        arrays = {k: from_bytes(v) for k, v in stored.items() if v is not None}
        statistics = None
        if "sampled" in arrays:
            statistics = Statistics(int(arrays["sampled"]), arrays["document_frequency"], arrays["stop_ids"])
        return statistics, arrays.get("axes")


def _checked(document: dict[str, Any]) -> dict[str, Any]:
    for field in ("id", "text"):
        if not isinstance(document.get(field), str):
            raise InvalidArgument(
                f"a document needs {field!r} as text; this one has {document.get(field)!r}: {str(document)[:80]}"
            )
    return document


def _refuse_unfinished(writer: Builder) -> None:
    if staged := len(writer.staged_ids):
        raise FailedPrecondition(
            f"an interrupted build has {staged} documents waiting here; run the same `plait build` again, with --restart to drop them"
        )
