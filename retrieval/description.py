"""What a collection with its text side is, holds, weighs and finds, as `info` says it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..index.collection import Collection
from .text.term_side import stored_fields


def described(collection: Collection, settings: Mapping[str, Any], problem: str | None) -> dict[str, Any]:
    """What `Retriever.info` returns.

    Args:
        settings: what the collection keeps of its text side.
        problem: what ended encoding in the background; None: nothing did.
    """
    measured, stats = collection.calibration, collection.stats()
    makers = {field: stored["name"] for field, stored in stored_fields(settings).items()}
    if "term_fields" in stats:
        stats["term_fields"] = [{**field, "encoder": makers.get(field["name"])} for field in stats["term_fields"]]
    return {
        **stats,
        **({"pending_problem": problem} if problem else {}),
        "system": settings["system"],
        "recipe": settings["recipe"],
        "encoder": settings["encoder"],
        "vector_source": settings.get("vector"),
        "term_encoder": next(iter(makers.values()), None),
        "recall": measured.to_json() if measured else None,
    }


def shown(collection: Collection, settings: Mapping[str, Any]) -> str:
    """What a collection is and holds, in one line, from what is in memory."""
    size, catalog = collection.size, collection.catalog
    holds = [f"{'' if size.exact else 'at most '}{size.documents:,} documents"] if size else []
    if collection.dim:
        count = f"{size.tokens:,} " if size else ""
        holds += [f"{count}tokens of {collection.dim} {collection.schema.precision}", collection.store]
    holds += [f"vectors of {collection.vector}"] if collection.vector else []
    encoders = [settings["encoder"]] if settings["encoder"] else []
    makers = [one["name"] for one in (*encoders, *stored_fields(settings).values())]
    notes = [", ".join(makers)] if makers else []
    notes += ["written to since"] if size and catalog.written > size.seq else []
    notes += ["closed"] if catalog.closed else []
    return f"{collection.path.name!r}: {'; '.join([', '.join(holds), *notes])}"
