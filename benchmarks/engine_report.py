"""Measurements of late-interaction engines as rows, as a table with the frontier marked,
and plait against each peer."""

from __future__ import annotations

import importlib.util
from typing import Any, TextIO

import numpy as np
from engine_process import Engine
from plait.eval.measure import evaluate
from token_data import Data

Measured = dict[tuple[int, int, int], list[tuple[np.ndarray, float]]]
"""By (engine, setting, depth): document numbers and CPU seconds of every query."""
Row = dict[str, Any]


def rows_of(
    engines: list[Engine], peaks: list[float], measured: Measured, truth: list[np.ndarray], data: Data
) -> list[Row]:
    """One row for each engine and setting, those of the exact product first."""
    rows = []
    for e, engine in enumerate(engines):
        for s, params in enumerate(engine.grid):
            found = {k: [docs for docs, _ in measured[e, s, k]] for k in (10, 100)}
            cpu = {k: 1000 * float(np.median([seconds for _, seconds in measured[e, s, k]])) for k in (10, 100)}
            rows.append(
                {
                    "engine": engine.name,
                    "params": {**engine.options, **params},
                    "recall@10": recall(truth, found[10], 10),
                    "recall@100": recall(truth, found[100], 100),
                    "nDCG@10": ndcg(found[10], data),
                    "cpu_ms@10": cpu[10],
                    "cpu_ms@100": cpu[100],
                    "peak_mb": peaks[e],
                    **engine.built,
                }
            )
    return rows


def recall(truth: list[np.ndarray], found: list[np.ndarray], k: int) -> float | None:
    """The share of the exact top k among the k found; None where a setting cannot return k documents."""
    short = all(len(f) < min(k, len(t)) for t, f in zip(truth, found, strict=True))
    pairs = zip(truth, found, strict=True)
    return None if short else float(np.mean([np.isin(t[:k], f[:k]).mean() for t, f in pairs]))


def ndcg(found: list[np.ndarray], data: Data) -> float | None:
    """None without judgements, or without the package that computes it."""
    if not data.qrels or not importlib.util.find_spec("ir_measures"):
        return None
    run = {
        name: [(data.documents[d], -float(rank)) for rank, d in enumerate(docs)]
        for name, docs in zip(data.names, found, strict=True)
    }
    return evaluate(run, data.qrels, ["nDCG@10"]).mean["nDCG@10"]


def frontier(rows: list[Row]) -> list[bool]:
    """Whether no other row has as much recall@10 in less CPU time, or more in as much."""

    def beats(a: Row, b: Row) -> bool:
        pairs = [(a["recall@10"], b["recall@10"]), (b["cpu_ms@10"], a["cpu_ms@10"])]
        return all(x >= y for x, y in pairs) and any(x > y for x, y in pairs)

    return [not any(beats(other, row) for other in rows) for row in rows]


def print_table(rows: list[Row], out: TextIO) -> None:
    """Markdown: all rows, a star on the frontier; then the cheapest plait setting at each peer's recall."""
    exact = next((row["cpu_ms@10"] for row in rows if row["engine"] == "numpy_exact"), None)
    head = "engine,parameters,R@10,R@100,nDCG@10,CPU ms k=10,k=100,exact / this,build CPU s,B/token,build MB,search MB"
    _line(out, *head.split(","))
    _line(out, *["---"] * (head.count(",") + 1))
    for row, best in zip(rows, frontier(rows), strict=True):
        quality = [_number(row[name], 4) for name in ("recall@10", "recall@100", "nDCG@10")]
        times = [f"{row['cpu_ms@10']:.2f}", f"{row['cpu_ms@100']:.2f}", _times(exact, row["cpu_ms@10"])]
        sizes = [
            f"{row['build_cpu_s']:.1f}",
            *(f"{row[n]:.0f}" for n in ("bytes_per_token", "build_peak_mb", "peak_mb")),
        ]
        _line(out, row["engine"] + (" *" if best else ""), _short(row["params"]), *quality, *times, *sizes)
    print("\n`*`: no other row has as much recall@10 in less time.\n", file=out)
    _line(
        out, "peer", "parameters", "R@10", "CPU ms", "cheapest plait at that recall", "R@10", "CPU ms", "peer / plait"
    )
    _line(out, *["---"] * 8)
    ours = [row for row in rows if row["engine"].startswith("plait")]
    for peer in (row for row in rows if row not in ours):
        enough = [row for row in ours if row["recall@10"] >= peer["recall@10"]]
        if enough:
            mine = min(enough, key=lambda row: row["cpu_ms@10"])
            here, there = [(_number(r["recall@10"], 4), f"{r['cpu_ms@10']:.2f}") for r in (peer, mine)]
            ratio = _times(peer["cpu_ms@10"], mine["cpu_ms@10"])
            _line(out, peer["engine"], _short(peer["params"]), *here, _short(mine["params"]) or "exact", *there, ratio)


def _line(out: TextIO, *cells: str) -> None:
    print("|", " | ".join(cells), "|", file=out)


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _times(value: float | None, part: float) -> str:
    return "" if value is None else f"{value / part:.1f}"


def _short(params: Row) -> str:
    return ", ".join(f"{name} {value}" for name, value in params.items())
