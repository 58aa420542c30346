"""What a collection shall be made of, as the command line says it: settings, and how they differ from one that is there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ...retrieval.retriever import Retriever

_PRECISION = "float16"
_CHANGED = ("query_length", "document_length", "query_expansion", "dtype")


@dataclass(frozen=True)
class Making:
    """The options of `build` and `eval` that say what a collection is made of. None: not given."""

    system: str | None = None
    encoder: str | None = None
    pool: str | None = None
    prune: list[str] | None = None
    reduce: list[str] | None = None
    dim: int | None = None
    terms: list[str] | None = None
    vector: bool = False
    store: str | None = None
    precision: str | None = None
    query_length: int | None = None
    document_length: int | None = None
    query_expansion: int | None = None
    dtype: str | None = None

    @property
    def steps(self) -> list[str]:
        """The reducers in the order in which they are applied."""
        from ...retrieval.reducers.recipe import parse

        pooling = [f"pool:{self.pool}"] if self.pool and self.pool != "1" else []
        return [step.spec for step in parse([*(self.reduce or []), *(self.prune or []), *pooling])]

    def settings(self) -> dict[str, Any]:
        """Keyword arguments of `Retriever.create`. InvalidArgument: a reducer or a term field that cannot be read."""
        from ...retrieval.encoders.encoder import EMBEDDED, EncoderOptions
        from ...retrieval.text.term_side import named_fields

        named = self.encoder or EMBEDDED
        return {
            "system": self.system,
            "encoder": None if named == "none" else named,
            "options": EncoderOptions(**{name: getattr(self, name) for name in _CHANGED}),
            "reduce": self.steps,
            "dim": self.dim,
            "terms": named_fields(self.terms or []),
            "vector": self.vector or None,
            "store": self.store or "auto",
            "precision": self.precision or _PRECISION,
        }


def differences(making: Making, retriever: Retriever, whole: bool) -> list[str]:
    """How a collection differs from what is asked for: one phrase with both values for each setting.

    Args:
        whole: what was not given means its default; otherwise it means whatever the collection has.
    """
    asked, has = _asked(making), _has(retriever)
    given = asked.keys() if whole else {name for name in asked if _given(making, name)}
    return [
        f"{name}: {_shown(asked[name])} is asked for, it has {_shown(has[name])}"
        for name in asked
        if name in given and asked[name] != has[name] and not (name in _OPEN and asked[name] is None)
    ]


_OPEN = ("system", "vector")
"""Where nothing was said, these are whatever the encoder makes them."""


def _asked(making: Making) -> dict[str, Any]:
    from ...retrieval.text.places import kept

    wanted = making.settings()
    return {
        "system": making.system,
        "encoder": wanted["encoder"] and kept(wanted["encoder"]),
        "reducers": wanted["reduce"],
        "dim": wanted["dim"],
        "terms": {name: kept(maker) for name, maker in _fields(wanted["terms"]).items()},
        "vector": making.vector or None,
        "store": wanted["store"],
        "precision": wanted["precision"],
        **{name: getattr(making, name) for name in _CHANGED},
    }


def _has(retriever: Retriever) -> dict[str, Any]:
    from ...retrieval.text.term_side import stored_fields

    settings, collection = retriever.settings, retriever.collection
    encoder, fields = settings["encoder"] or {}, stored_fields(settings)
    kept = encoder.get("options") or next(iter(fields.values()), {})
    return {
        "system": settings["system"],
        "encoder": encoder.get("name"),
        "reducers": settings["recipe"],
        "dim": settings["dim"],
        "terms": {name: field["name"] for name, field in fields.items()},
        "vector": bool(settings.get("vector")) or None,
        "store": "auto" if collection.store == retriever.system.store else collection.store,
        "precision": collection.schema.precision,
        **{name: kept.get(name) for name in _CHANGED},
    }


def _given(making: Making, name: str) -> bool:
    if name == "reducers":
        return bool(making.pool or making.prune or making.reduce)
    return bool(getattr(making, name))


def _fields(terms: str | dict[str, str] | None) -> dict[str, str]:
    from ...index.terms import TERMS

    return {TERMS: terms} if isinstance(terms, str) else dict(terms or {})


def _shown(value: Any) -> str:
    from ...index.terms import TERMS

    if isinstance(value, dict):
        value = [maker if name == TERMS else f"{name}={maker}" for name, maker in value.items()]
    if isinstance(value, list):
        value = ", ".join(value)
    return "yes" if value is True else str(value) if value else "none"
