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
