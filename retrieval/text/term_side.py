"""The way of a text to stored terms: an analyser whose counts BM25 weighs, or a sparse encoder's weights."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ...index.catalog.schema import TermField
from ...index.errors import FailedPrecondition, InvalidArgument, NotFound
from ...index.params import Bm25
from ...index.terms import TERMS, Terms
from ..encoders.encoder import refuse_near
from ..sparse.analyzer import KEYS, VERSION, Analyzer, version_of
from ..sparse.encoder import BINARY, FAMILIES, SparseEncoder, SparseOptions
from ..sparse.load import load_sparse_encoder
from . import places

if TYPE_CHECKING:
    import numpy as np

    from ..sparse.beta import Embed


_NAMED = re.compile(r"([a-z0-9_-]+)=(.+)")


@dataclass(frozen=True)
class TermSide:
    """How a collection turns texts into terms, and how it keeps them."""

    name: str
    """What loads it again."""
    encoder: Analyzer | SparseEncoder
    field: TermField
    bm25: Bm25 | None = None
    """Weighs counts when a query comes; None: weights are the encoder's."""
    fingerprint: str = ""
    """Of a checkpoint's weights, tokenizer and settings; of an analyzer, its version."""

    def documents(self, texts: Sequence[str]) -> Terms:
        return self.encoder.encode_documents(texts)

    def queries(self, texts: Sequence[str]) -> Terms:
        return self.encoder.encode_queries(texts)

    @property
    def embed(self) -> Embed | None:
        """Embeds documents that were found by their tokens (`retrieval/sparse/beta.py`); None: what is kept of them is
        what is scored."""
        return getattr(self.encoder, "embed", None)

    @property
    def vector(self) -> int:
        """Dimensions of the global vector that comes with the terms (DupMAE); 0: none does."""
        return getattr(self.encoder, "vector", 0)

    def both(self, texts: Sequence[str], side: str) -> tuple[Terms, np.ndarray]:
        """Terms and (texts, vector) float32 global vectors of a side, `query` or
        `document`, where they come together."""
        made: tuple[Terms, np.ndarray] = (
            self.encoder.hybrid_queries(texts) if side == "query" else self.encoder.hybrid_documents(texts)  # type: ignore[union-attr]
        )
        return made

    def names(self, keys: Iterable[int], query: str) -> list[str]:
        """What the keys of a query's terms stand for; the analyser tells from the query's text."""
        if isinstance(self.encoder, Analyzer):
            known = self.encoder.names(query)
            return [known.get(int(key), f"key {key}") for key in keys]
        return self.encoder.names(keys)


def model_free(name: str) -> bool:
    """Whether no model sees documents, by what `load_terms` takes: terms are their words, or their ids."""
    return without_model(name) or name.startswith("beta:")


def free_fields(stored: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The term fields, of those that `stored_fields` gives, that a document is in before a model has seen it."""
    return [field for field, one in stored.items() if model_free(one["name"])]


def without_model(name: str) -> bool:
    """Whether no model sees documents, nor queries."""
    return name.partition(":")[0] in ("bm25", BINARY)


def named_fields(given: Sequence[str]) -> str | dict[str, str] | None:
    """What makes the terms of each field by name, of `NAME=...`, or called by its kind
    (`bm25:german`); of one without, itself.

    Raises:
        InvalidArgument: of several, a folder or hub id without a name; a name twice.
    """
    found: dict[str, str] = {}
    for text in given:
        named, kind = _NAMED.fullmatch(text), text.partition(":")[0]
        if len(given) == 1 and not named:
            return text
        if not named and kind not in ("bm25", *FAMILIES):
            raise InvalidArgument(f"{text!r} has no name; where there are several term fields, write NAME={text}")
        name, maker = named.groups() if named else (kind, text)
        if name in found:
            raise InvalidArgument(f"two term fields are called {name!r}; give each its own, as in NAME={text}")
        found[name] = maker
    return found or None


def stored_fields(settings: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What `load_terms` takes of every term field, and its fingerprint, as the settings of a collection have them."""
    alone = settings.get("terms")
    return settings.get("term_fields") or ({TERMS: alone} if alone else {})


def also_called(stored: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Further names of a collection's only term field: `terms`, what makes it (`bm25:german`), and its kind
    (`bm25`)."""
    if len(stored) != 1:
        return {}
    ((field, one),) = stored.items()
    maker = str(one["name"])
    return {name: field for name in (TERMS, maker, maker.partition(":")[0]) if name != field}


def restored(
    stored: Mapping[str, dict[str, Any]], elsewhere: Mapping[str, str] | None = None, **device: Any
) -> dict[str, TermSide]:
    """The term sides of a collection by field.

    Args:
        elsewhere: where checkpoints lie now that have moved (`places.moved`).

    Raises:
        FailedPrecondition: an encoder is another than when the collection was built.
        NotFound: a checkpoint is not there.
    """
    sides = {}
    for field, one in stored.items():
        name = places.at(one["name"], elsewhere or {})
        how = {k: v for k, v in one.items() if k not in ("name", "fingerprint")}
        if name.partition(":")[0] == "bm25":
            how["analysis"] = version_of(one["fingerprint"])
        try:
            side = sides[field] = load_terms(name, **how, **device)
        except NotFound as error:
            raise places.not_there(name, error) from None
        if side.fingerprint != one["fingerprint"]:
            raise FailedPrecondition(
                f"the encoder {name} is not the one that this collection was built with; restore that, or build anew"
            )
    return sides


def load_terms(
    name: str,
    query_length: int | None = None,
    document_length: int | None = None,
    dtype: str | None = None,
    *,
    analysis: int = VERSION,
    device: str = "cpu",
    threads: int | None = None,
) -> TermSide:
    """`bm25`, `bm25:LANGUAGE`, `binary`, or a folder or hub id of a sparse checkpoint (`retrieval/sparse/encoder.py`).

    `analysis` is the version by which `bm25` cuts texts. The lengths are tokens that a checkpoint keeps (None: as it
    says), `dtype` is what it runs in (`SparseOptions`); BM25 keeps all words. `beta:` before a checkpoint keeps
    documents as `binary` does and embeds queries (`retrieval/sparse/beta.py`); `FAMILY:` says how to read one where its
    files cannot tell: `slim:FOLDER`, `splade-doc:FOLDER`.

    Raises:
        InvalidArgument: no such language; a checkpoint of no sparse family.
        NotFound: no such folder or checkpoint.
        FailedPrecondition: the extra that carries it is not installed.
    """
    kind, _, rest = name.partition(":")
    if kind == "bm25":
        analyzer = Analyzer(rest or "english", analysis)
        return TermSide(name, analyzer, TermField(KEYS, counts=True), Bm25(), analyzer.fingerprint)
    options = SparseOptions(None, query_length, document_length, dtype=dtype)
    if rest and kind == "beta":
        from ..sparse.beta import load_beta

        beta = load_beta(rest, options, device=device, threads=threads)
        return TermSide(name, beta, TermField(beta.spec.vocabulary), fingerprint=beta.spec.fingerprint)
    named = rest and kind in FAMILIES
    if not named:
        refuse_near(name, ("bm25", BINARY))
    options = replace(options, family=kind if named else None)
    encoder = load_sparse_encoder(rest if named else name, options, device=device, threads=threads)
    field = TermField(encoder.spec.vocabulary, per_token=encoder.spec.family == "slim")
    return TermSide(name, encoder, field, fingerprint=encoder.spec.fingerprint)
