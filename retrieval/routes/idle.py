"""Search options that change nothing, and why: a caller who gives one believes that it does."""

from __future__ import annotations

import warnings
from collections.abc import Iterable

from ...index.collection import Collection
from ...index.errors import IdleOption
from ...index.recall.term_calibration import inverted_documents
from ...index.stores import plan
from .options import OPTIONS
from .route import Route

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


def idle(route: Route, collection: Collection) -> tuple[str, ...]:
    """One sentence for each option that was given and changes nothing on this route."""
    given = route.options.given()
    notes = [_by_mode(name, route) for name in given if OPTIONS[name].modes]
    notes += [_by_fusion(name, route) for name in given if OPTIONS[name].fusion]
    if not _by_terms(route, collection):
        terms = [name for name in given if OPTIONS[name].finds == "terms"]
        notes += [f"{name} is ignored: a search by {route.mode} finds nothing by terms" for name in terms]
    tokens = [name for name in given if OPTIONS[name].finds == "tokens"]
    if tokens or "target_recall" in given:
        stores = frozenset(_stores(collection)) if "tokens" in route.finding and not route.exact else frozenset[str]()
        notes += [_by_store(name, route, stores) for name in tokens]
        if "target_recall" in given:
            notes.append(_target(route, stores, collection))
    return tuple(note for note in notes if note)


def _by_mode(name: str, route: Route) -> str | None:
    modes = OPTIONS[name].modes
    return None if route.mode in modes else f"{name} is ignored: mode is {route.mode}, and it counts in {_or(modes)}"


def _by_fusion(name: str, route: Route) -> str | None:
    wanted = OPTIONS[name].fusion
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
