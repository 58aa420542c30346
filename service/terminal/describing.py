"""What a person sees of a whole collection: what it holds and weighs, and what was measured of its searches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table

from .console import bytes_text, out

if TYPE_CHECKING:
    from ...index.recall.calibration import Calibration, Point
    from ...index.recall.term_calibration import TermPoint

_TARGETS = (0.9, 0.99)
"""Recalls whose cheapest settings a build shows."""
_KEPT_BACK = ("terms", "term_encoder", "term_weights")
"""What the line of the term fields says already."""
_OF_TOKENS = ("tokens", "bytes_per_token", "dim", "store", "precision", "system", "recipe")
"""What means nothing where there are no token vectors."""


def show_info(info: dict[str, Any]) -> None:
    """What `info` and `stats` say, one thing a line, always in the same order; `--json` has it whole."""
    known = [name for name in _LINES if name in info]
    for name in [*known, *(name for name in info if name not in _LINES)]:
        value, (label, show) = info[name], _LINES.get(name, (name.replace("_", " "), _plain))
        nothing = value is None or (name in _HIDDEN and not value) or (name == "log" and not value["bytes"])
        if nothing or name in _KEPT_BACK or (name in _OF_TOKENS and not info.get("dim")):
            continue
        out.print(f"{label:>18}  {show(value)}", markup=False)


def show_frontier(measured: Calibration | None) -> None:
    """What a build has measured: the cheapest settings for some recalls, one line each."""
    if measured is None or not measured.points:
        return
    for k in sorted({point.k for point in measured.points}):
        points = [point for point in measured.points if point.k == k]
        found = [next((p for p in points if p.recall >= target), points[-1]) for target in _TARGETS]
        for point in dict.fromkeys(found):
            out.print(
                f"finds {point.recall:.3f} of the exact top {k} in {point.cpu_ms:.2f} ms of CPU time a query "
                f"(nprobe {point.nprobe}, candidates {point.candidates})"
            )
    out.print(
        f"measured with {measured.queries} queries drawn from the documents; `--target-recall` chooses among these settings, "
        "`plait calibrate` shows all"
    )


def show_calibration(measured: Calibration) -> None:
    """The frontiers, one setting a line."""
    terms = measured.terms
    _show_points(measured.points, ("nprobe", "candidates"))
    _show_points(terms.points if terms else (), ("term_candidates", "query_terms", "min_idf", "alpha"))
    queries = max(measured.queries, terms.queries if terms else 0)
    drawn = measured.source == "drawn"
    source = "drawn from the documents" if drawn else measured.source
    out.print(f"{queries} queries ({source}), {measured.documents:,} documents")
    if measured.points or (terms and terms.points):
        out.print(
            "recall: the mean share of the exact top k that was found; at least: what the mean of as many other queries "
            "would fall below once in 40 times (two standard errors less)"
        )
    else:
        out.print("every search compares with all documents here, so there was nothing to measure")


def _show_points(points: Sequence[Point | TermPoint], names: Sequence[str]) -> None:
    if not points:
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("k", "recall", "at least", "CPU ms", *names):
        table.add_column(name.replace("_", " "), justify="right")
    for p in points:
        spent = ("all" if getattr(p, name) is None else f"{getattr(p, name)}" for name in names)
        table.add_row(f"{p.k}", f"{p.recall:.4f}", f"{p.low:.4f}", f"{p.cpu_ms:.2f}", *spent)
    out.print(table)


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return f"{value:,}" if isinstance(value, int | float) else str(value)


def _bytes(value: dict[str, int]) -> str:
    grouped: dict[str, float] = {}
    for name, size in value.items():
        # The files of one structure (`postings.keys`, `bm25.postings.keys`) count together.
        kind = name.rpartition(".")[0] or name
        grouped[kind] = grouped.get(kind, 0) + size
    parts = sorted(((n, b) for n, b in grouped.items() if n != "total"), key=lambda pair: -pair[1])
    return f"{bytes_text(value['total'])}: " + ", ".join(f"{n} {bytes_text(b)}" for n, b in parts)


def _log(value: dict[str, float]) -> str:
    held = value["oldest_read_s"]
    return bytes_text(value["bytes"]) + (f", held by a read for {held:,.0f} s" if held >= 1 else "")


def _segments(value: Sequence[dict[str, Any]]) -> str:
    drifts = [f"{s['drift']:.3f}" for s in value if s["drift"] is not None]
    shown = f"{len(value):,}"
    return f"{shown} (mean distance of vectors from their codes: {', '.join(drifts)})" if drifts else shown


def _encoder(value: dict[str, Any]) -> str:
    spec = value["spec"]
    return (
        f"{value['name']} ({spec['family']}, {spec['dim']:.0f} dimensions, documents cut at "
        f"{spec['document_length']:.0f} tokens)"
    )


def _term_fields(value: Sequence[dict[str, Any]]) -> str:
    shown = []
    for field in value:
        maker = field.get("encoder")
        of = f" by {maker}" if maker and maker != field["name"] else ""
        shown.append(f"{field['name']}{of} ({field['weights']:,.0f} weights)")
    return ", ".join(shown)


def _recall(value: dict[str, Any]) -> str:
    sides = [_side(side) for side in (value, value.get("terms")) if side and side["points"]]
    return "; ".join(sides) or "not measured: every search compares with all documents"


def _side(side: dict[str, Any]) -> str:
    """What was measured of searches by tokens, or by terms."""
    best = max(side["points"], key=lambda p: p["recall"])
    kind = "" if "nprobe" in best else "by terms "
    return f"{kind}up to {best['recall']:.3f} at k = {best['k']:.0f} ({side['queries']:.0f} queries, {side['source']})"


_LINES: dict[str, tuple[str, Callable[[Any], str]]] = {
    "documents": ("documents", _plain),
    "tokens": ("tokens", _plain),
    "pending": ("wait for encoding", _plain),
    "pending_problem": ("encoding failed", _plain),
    "fresh": ("not in a segment", _plain),
    "dead": ("deleted, on disk", _plain),
    "seq": ("state", _plain),
    "segments": ("segments", _segments),
    "system": ("system", _plain),
    "encoder": ("encoder", _encoder),
    "recipe": ("recipe", _plain),
    "dim": ("dimensions", _plain),
    "precision": ("precision", _plain),
    "store": ("store", _plain),
    "vector": ("vector dimensions", _plain),
    "vector_source": ("vectors made by", _plain),
    "term_fields": ("terms", _term_fields),
    "fields": ("indexed fields", _plain),
    "bytes": ("bytes", _bytes),
    "bytes_per_token": ("bytes per token", _plain),
    "bytes_per_document": ("bytes per document", _plain),
    "log": ("SQLite's log", _log),
    "recall": ("recall", _recall),
}
"""What each line is called and how it is shown, in the order of the lines."""
_HIDDEN = ("pending", "fresh", "dead", "fields", "vector", "segments")
"""What is left out where it is nothing."""
