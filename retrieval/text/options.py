"""What a collection is made of, each setting once: flags and the wire's fields are made from this record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...index.errors import InvalidArgument
from ..routes.option import Option, check_all, described, option, options_of

# `plait --help` reads this file, so it imports neither NumPy nor what needs it.
OF_ENCODER = ("query_length", "document_length", "query_expansion", "dtype")
"""The settings that `EncoderOptions` has."""
NO_ENCODER = "none"
_EMBEDDED = "minilm"


@dataclass(frozen=True)
class CollectionOptions:
    """What a collection shall be made of, for ever but for `fields`. None: not given, which means the default.

    Raises:
        InvalidArgument: a value out of its bounds; the error's `field` names the setting.
    """

    system: str | None = option(
        "name",
        "colbert (all tokens of a candidate), xtr (retrieved tokens) or coil (tokens of equal id)",
        default="coil for a COIL checkpoint, otherwise colbert",
    )
    encoder: str | None = option(
        "name",
        "minilm (embedded), a checkpoint folder, a hub id, or none (terms alone, or given vectors)",
        default=_EMBEDDED,
    )
    reduce: tuple[str, ...] | None = option(
        "texts",
        "A reducer of the tokens of documents, repeatable, in order: skip:punctuation, single, idf:50, pool:2",
        default="none",
    )
    dim: int | None = option(
        "count",
        "Project to so many dimensions by PCA, where 128 costs up to 2 points of nDCG@10; without an encoder, those of "
        "the given vectors",
        default="the encoder's",
        unit="dimensions",
        least=1,
        grows="quality, bytes and time",
    )
    terms: str | dict[str, str] | None = option(  # noqa: RUF009
        "terms",
        "Sparse terms beside the token vectors: bm25, bm25:LANGUAGE, a sparse checkpoint, binary, or beta:CHECKPOINT "
        "(documents as binary has them, queries embedded). Repeatable: several fields, each NAME=... or called by its "
        "kind (bm25)",
        default="none",
    )
    vector: int | bool | None = option(
        "vector",
        "Keep the encoder's single vector of each document too, for --mode vector",
        default="only where the encoder always makes one",
        unit="dimensions",
        least=1,
    )
    store: str | None = option(
        "name",
        "auto (by size), exact, flat (4-bit codes), lists (the same, for large collections), or faiss:FACTORY such as "
        "faiss:IVF1024,PQ64x4fs or faiss:IVF,SQ8",
        default="auto",
    )
    precision: str | None = option(
        "name",
        "How token vectors are kept: float16, int8 (half the bytes), pq:72, pq:64 or pq:32 (bytes a token), residual:1"
        ", 2 or 4 (bits, as ColBERTv2)",
        default="float16",
    )
    query_length: int | None = option(
        "count",
        "Query tokens kept",
        default="the checkpoint's",
        unit="tokens",
        least=2,
        most=8192,
        grows="what long queries keep, and time",
    )
    document_length: int | None = option(
        "count",
        "Document tokens kept",
        default="the checkpoint's",
        unit="tokens",
        least=2,
        most=8192,
        grows="what long documents keep, bytes and time",
    )
    query_expansion: int | None = option(
        "count",
        "Fill queries with [MASK] to this length",
        default="the checkpoint's",
        unit="tokens",
        least=0,
        most=128,
        grows="quality up to about 32, and time",
    )
    dtype: str | None = option(
        "name",
        "What a checkpoint runs in: float32, float16 or bfloat16",
        default="float32 on a CPU, half precision on a GPU",
    )
    fields: tuple[str, ...] | None = option(
        "texts", "A payload field with an index, repeatable; filters on others work too, slower", default="none"
    )

    def __post_init__(self) -> None:
        check_all(self, MADE_OF)

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> CollectionOptions:
        """The record of these settings. InvalidArgument: an unknown one, or a value out of its bounds."""
        if unknown := given.keys() - MADE_OF.keys():
            raise InvalidArgument(f"unknown setting {min(unknown)!r}; known are {', '.join(MADE_OF)}")
        return cls(**given)

    def given(self) -> dict[str, Any]:
        """The settings that were given, by name."""
        return {name: value for name, value in vars(self).items() if value is not None}

    @property
    def makers(self) -> list[str]:
        """What makes the terms of each field."""
        return [self.terms] if isinstance(self.terms, str) else [*(self.terms or {}).values()]

    def settings(self) -> dict[str, Any]:
        """Keyword arguments of `Retriever.create`. InvalidArgument: an option of the encoder out of its bounds."""
        from ..encoders.encoder import EncoderOptions

        named = self.encoder or _EMBEDDED
        others = {name: value for name, value in self.given().items() if name not in OF_ENCODER}
        options = EncoderOptions(**{name: getattr(self, name) for name in OF_ENCODER})
        return {**others, "encoder": None if named == NO_ENCODER else named, "options": options}

    @staticmethod
    def described() -> list[dict[str, str]]:
        """One row for each setting, for a reference: what it is called, takes, means and does, each as text."""
        return described(MADE_OF)


MADE_OF: dict[str, Option] = options_of(CollectionOptions)
"""Every setting by name, in the order of the record."""
