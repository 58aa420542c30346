"""How a collection that is there differs from the one that the command line asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...retrieval.text.options import OF_ENCODER, CollectionOptions

if TYPE_CHECKING:
    from ...retrieval.retriever import Retriever

_OPEN = ("system", "vector", "fields")
"""Where nothing was said, these are whatever the encoder makes them, or somebody has made of them since."""


def differences(wanted: CollectionOptions, retriever: Retriever, whole: bool) -> list[str]:
    """How a collection differs from what is asked for: one phrase with both values for each setting.

    Args:
        whole: what was not given means its default; otherwise it means whatever the collection has.
    """
    asked, has = _asked(wanted), _has(retriever)
    return [
        f"{_CALLED.get(name, name)}: {_shown(asked[name])} is asked for, it has {_shown(has[name])}"
        for name in asked
        if (whole or name in wanted.given())
        and asked[name] != has[name]
        and not (name in _OPEN and asked[name] is None)
    ]


_CALLED = {"reduce": "reducers"}


def _asked(wanted: CollectionOptions) -> dict[str, Any]:
    from ...retrieval.reducers.recipe import parse
    from ...retrieval.text.places import kept

    settings = wanted.settings()
    return {
        "system": wanted.system,
        "encoder": settings["encoder"] and kept(settings["encoder"]),
        "reduce": [step.spec for step in parse(wanted.reduce or ())],
        "dim": wanted.dim,
        "terms": {name: kept(maker) for name, maker in _fields(wanted.terms).items()},
        "vector": wanted.vector,
        "store": wanted.store or "auto",
        "precision": wanted.precision or "float16",
        **{name: getattr(wanted, name) for name in OF_ENCODER},
        "fields": None if wanted.fields is None else sorted(wanted.fields),
    }


def _has(retriever: Retriever) -> dict[str, Any]:
    from ...retrieval.text.term_side import stored_fields

    settings, collection = retriever.settings, retriever.collection
    encoder, fields = settings["encoder"] or {}, stored_fields(settings)
    kept = encoder.get("options") or next(iter(fields.values()), {})
    with collection.catalog.reading() as view:
        indexed = sorted(view.declared)
    return {
        "system": settings["system"],
        "encoder": encoder.get("name"),
        "reduce": settings["recipe"],
        "dim": settings["dim"],
        "terms": {name: field["name"] for name, field in fields.items()},
        "vector": bool(settings.get("vector")) or None,
        "store": "auto" if collection.store == retriever.system.store else collection.store,
        "precision": collection.schema.precision,
        **{name: kept.get(name) for name in OF_ENCODER},
        "fields": indexed,
    }


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
