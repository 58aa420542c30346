"""What a collection holds and weighs, counted in one of its states."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..catalog.schema import Schema
from ..sparse.search import count_weights
from .snapshot import Snapshot


def collection_stats(path: Path, snapshot: Snapshot, schema: Schema, store: str) -> dict[str, Any]:
    """Counts, bytes by what they are for, fresh and dead documents, segments with their drift."""
    view, sizes = snapshot.view, _sizes(snapshot)
    documents, (fresh, fresh_tokens, _) = view.count(), view.fresh_size()
    rows = [r for r in view.segments() if r.published]
    # Without token vectors a size counts term weights.
    tokens = sum(row.tokens for row in rows) + fresh_tokens if schema.dim else 0
    catalog = sum(f.stat().st_size for f in path.glob("catalog.db*"))
    total = sum(sizes.values()) + catalog
    return {
        "documents": documents,
        "tokens": tokens,
        "fresh": fresh,
        "dead": len(view.tombstones()),
        "pending": view.count_pending(),
        "seq": view.meta("seq"),
        "segments": [
            {
                "number": r.number,
                "documents": r.documents,
                "tokens": r.tokens if schema.dim else 0,
                "drift": r.drift,
            }
            for r in rows
        ],
        "dim": schema.dim,
        "store": store,
        "precision": schema.precision,
        "fields": view.declared,
        **({"vector": schema.vector} if schema.vector else {}),
        **_of_terms(snapshot, schema),
        "bytes": {**sizes, "catalog": catalog, "total": total},
        "bytes_per_token": round(total / tokens, 1) if tokens else None,
        "bytes_per_document": round(total / documents, 1) if documents else None,
    }


def _sizes(snapshot: Snapshot) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for part in snapshot.state.published.values():
        for name, file in part.segment.files.items():
            sizes[name] = sizes.get(name, 0) + file.bytes
    return sizes


def _of_terms(snapshot: Snapshot, schema: Schema) -> dict[str, Any]:
    """The first field and the weights of all; each field with its own."""
    if not schema.terms:
        return {}
    weights = {name: count_weights(snapshot.state.parts, name) for name in schema.terms}
    fields = [{"name": name, **asdict(field), "weights": weights[name]} for name, field in schema.terms.items()]
    first = asdict(schema.terms[schema.need_terms()])
    return {"terms": first, "term_fields": fields, "term_weights": sum(weights.values())}
