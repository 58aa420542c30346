"""What a collection with its text side is, holds, weighs and finds, as `info` says it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .sparse.term_side import stored_fields

if TYPE_CHECKING:
    from .retriever import Retriever


def described(retriever: Retriever) -> dict[str, Any]:
    settings = retriever.settings
    measured, stats = retriever.collection.calibration, retriever.collection.stats()
    makers = {field: stored["name"] for field, stored in stored_fields(settings).items()}
    if "term_fields" in stats:
        stats["term_fields"] = [{**field, "encoder": makers.get(field["name"])} for field in stats["term_fields"]]
    problem = retriever.pending.problem
    return {
        **stats,
        **({"pending_problem": problem} if problem else {}),
        "system": retriever.system.name,
        "recipe": settings["recipe"],
        "encoder": settings["encoder"],
        "vector_source": retriever.vector_source,
        "term_encoder": next(iter(makers.values()), None),
        "recall": measured.to_json() if measured else None,
    }
