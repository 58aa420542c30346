"""Search options that change nothing, and why: a caller who gives one believes that it does."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ...index.collection import Collection
from ...index.errors import IdleOption
from ...index.recall.term_calibration import inverted_documents
from ...index.stores import plan

if TYPE_CHECKING:
    from .find import Route

_MODES = {
    "fusion": ("hybrid",),
    "fusion_k": ("hybrid",),
    "normalise": ("hybrid",),
    "weights": ("hybrid",),
    "lanes": ("hybrid",),
    "depth": ("hybrid", "rerank"),
    "scorer": ("rerank",),
    "field": ("terms", "sum", "rerank"),
}
"""The modes in which each of these options counts."""
_FUSIONS = {"fusion_k": "rrf", "normalise": "weighted"}
_TERM_OPTIONS = ("term_candidates", "query_terms", "min_idf", "alpha")
_TOKEN_OPTIONS = ("k_token", "nprobe", "candidates", "missing")
_HEEDED = {
    "exact": frozenset[str](),
    "flat": frozenset({"candidates"}),
    "lists": frozenset({"nprobe", "candidates"}),
    "faiss": frozenset({"k_token", "nprobe", "candidates"}),
}
"""What a ColBERT search of a segment heeds, by the segment's store."""


def warn_idle(notes: Iterable[str]) -> None:
    """Tells a Python caller what `Route.notes` says, once for each place in the caller's code."""
    for note in notes:
        warnings.warn(note, IdleOption, stacklevel=3)


def idle(route: Route, given: Mapping[str, Any], collection: Collection) -> tuple[str, ...]:
    """One sentence for each given option that changes nothing on this route. None counts as not given."""
    asked = {name for name, value in given.items() if value is not None}
    found = [_by_mode(name, route) for name in _MODES if name in asked]
    found += [_by_fusion(name, route) for name in _FUSIONS if name in asked]
    terms = [name for name in _TERM_OPTIONS if name in asked]
    if not _by_terms(route, collection):
        found += [f"{name} is ignored: a search by {route.mode} finds nothing by terms" for name in terms]
    tokens = [name for name in _TOKEN_OPTIONS if name in asked]
    if tokens or "target_recall" in asked:
        stores = frozenset(_stores(collection)) if "tokens" in route.finding and not route.exact else frozenset[str]()
        found += [_by_store(name, route, stores) for name in tokens]
        if "target_recall" in asked:
            found.append(_target(route, stores, collection))
    return tuple(note for note in found if note)


def _by_mode(name: str, route: Route) -> str | None:
    modes = _MODES[name]
    return None if route.mode in modes else f"{name} is ignored: mode is {route.mode}, and it counts in {_or(modes)}"


def _by_fusion(name: str, route: Route) -> str | None:
    wanted = _FUSIONS[name]
    if route.mode != "hybrid" or route.fusion == wanted:
        return None
    return f"{name} is ignored: fusion is {route.fusion}, and it counts with {wanted}"


def _by_store(name: str, route: Route, stores: frozenset[str]) -> str | None:
    """Why an option for token vectors changes nothing."""
    if "tokens" not in route.finding:
        return f"{name} is ignored: a search by {route.mode} finds nothing by token vectors"
    scoring = route.scoring.tokens
    if name == "missing":
        return None if scoring == "retrieved" else "missing is ignored: it counts in XTR collections alone"
    if scoring == "coil":
        return f"{name} is ignored: COIL's search leaves nothing out"
    if route.exact:
        return f"{name} is ignored: an exact search compares with every stored token"
    if scoring == "retrieved":
        return _xtr(name, stores)
    if any(name in _HEEDED.get(store, frozenset({name})) for store in stores):
        return None
    return f"{name} is ignored: this collection's store is {_or(sorted(stores))} now, which does not use it"


def _xtr(name: str, stores: frozenset[str]) -> str | None:
    if name == "candidates":
        return "candidates is ignored: XTR scores every document that has a retrieved token"
    if name == "nprobe" and "faiss" not in stores:
        return "nprobe is ignored: XTR visits lists in a FAISS store alone"
    return None


def _target(route: Route, stores: frozenset[str], collection: Collection) -> str | None:
    if route.exact:
        return "target_recall is ignored: an exact search was asked for, and it finds everything"
    if stores - {"exact"} or (_by_terms(route, collection) and _inverted(collection)):
        return None
    return "target_recall is ignored: this search compares with every document as it is, and finds everything"


def _by_terms(route: Route, collection: Collection) -> bool:
    return any(lane in collection.schema.terms for lane in route.finding)


def _inverted(collection: Collection) -> int:
    with collection.catalog.reading() as view:
        return inverted_documents(view)


def _stores(collection: Collection) -> set[str]:
    """The kinds of store that the segments have now; documents that are in none are compared one by one."""
    with collection.catalog.reading() as view:
        rows = [row for row in view.segments() if row.published and row.documents]
    plans = {plan(collection.store, row.tokens, collection.dim).partition(":")[0] for row in rows}
    return plans or {"exact"}


def _or(words: Iterable[str]) -> str:
    return " or ".join(words)
