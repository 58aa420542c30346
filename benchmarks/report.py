"""The pages of docs/measurements that are made from benchmarks/results/: `python benchmarks/report.py` (`make report`).

With `--check` nothing is written: the stale files are named, and the exit code is 1 if there are any.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from html import escape
from pathlib import Path
from typing import Any

HOME = Path(__file__).parents[1]
RESULTS, PAGES = HOME / "benchmarks" / "results", HOME / "docs" / "measurements"
NOTE = "<!-- Made by benchmarks/report.py from benchmarks/results/. Run the benchmark anew, then `make report`. -->"
LABEL, BAR, HEIGHT, GAP = 170, 420, 14, 6
"""Pixels of a chart: the names' column, the longest bar, a bar's height, the gap between groups."""
COLOURS = ("#3b6ea8", "#c77d2e")
Run = dict[str, Any]


def main(arguments: list[str]) -> int:
    """The exit code."""
    runs = {path.stem: json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))}
    files = {PAGES / name: text for name, text in {**durability(runs), **live(runs)}.items()}
    stale = [path for path, text in files.items() if not path.exists() or path.read_text() != text]
    for path in stale:
        if arguments == ["--check"]:
            print(f"{path.relative_to(HOME)} is stale; run `make report` and commit it", file=sys.stderr)
        else:
            path.write_text(files[path])
    return bool(stale) if arguments == ["--check"] else 0


def durability(runs: dict[str, Run]) -> dict[str, str]:
    """What crashes left: of states that a dead machine may leave, and of writers that were killed."""
    states, kills = runs["crash_states"], runs["kill_rounds"]
    lines = [
        f"{states['states']:,} states that a dead machine may leave were opened;"
        f" {_none(states['violations'])} broke a promise.",
        f"{kills['rounds']:,} writers were killed; {_none(kills['violations'])} of their"
        f" {kills['acknowledged']:,} acknowledged calls was lost or half done.",
        "A state is computed: what a program does to its files is recorded; unsynced changes are lost, kept in part or"
        " reordered.",
        "A killed writer is real: SIGKILL in the middle of writes, seals and merges, then the collection is opened.",
        "[Promises](../explanation/promises.md) says what each promise means and which test proves it.",
    ]
    kinds = [[name, f"{count:,}"] for name, count in states["by trace"].items()]
    return {
        "durability.md": _page(
            "Durability",
            lines,
            "## States of a dead machine",
            f"Losses tried: {', '.join(states['losses'])}. {states['events']:,} events of {states['records']} records.",
            _table(["what was recorded", "states"], kinds),
            _circumstances(states, "make torture"),
            "## Killed writers",
            f"{kills['rounds']:,} rounds over {len(kills['by kind'])} kinds of collections (each store with several"
            f" precisions, weights and fields), {kills['reads']:,} reads beside the writers.",
            _circumstances(kills, "make torture"),
        )
    }


def _none(count: int) -> str:
    return "none" if not count else f"{count:,}"


def live(runs: dict[str, Run]) -> dict[str, str]:
    """What writes, merges and deferred embeddings cost."""
    exact, other, fresh = runs["live_exact"], runs["live_faiss"], runs["freshness"]
    first = fresh["one by one"]
    writes, batch = exact["writes"]["upsert 1, durable"], exact["writes"]["upsert 64, durable"]
    deletes = {size: cost["cpu_ms_each"] for size, cost in exact["deletes"].items()}
    share = exact["rebuild_over"]["1% changed"]["upkeep"], other["rebuild_over"]["1% changed"]["upkeep"]
    lines = [
        f"A durable upsert of one document takes {writes['cpu_ms_each']:.2g} ms of CPU time, and"
        f" {batch['cpu_ms_each']:.2g} ms in a batch of 64, which shares the sync of the disk.",
        f"A delete takes {_listed(f'{cost:.2f}' for cost in deletes.values())} ms in collections of"
        f" {_listed(f'{int(size):,}' for size in deletes)} documents.",
        f"Where 1 % of the documents change, upkeep is {share[0]:g} times cheaper than a rebuild (exact store) and"
        f" {share[1]:g} times (FAISS).",
        f"A deferred document is found by BM25 after {first['deferred']['cpu_ms']:.2g} ms of CPU time; with its"
        f" embedding it takes {first['at once']['cpu_ms']:.2g} ms.",
        "Compare within a column: the runs shared their machine with other work, at the load that each run states.",
    ]
    words = ("durable", "not durable")
    costs = {
        kind: [exact["writes"][f"{kind}, {word}"]["cpu_ms_each"] for word in words]
        for kind in ("upsert 1", "upsert 64", "delete", "update_payload")
    }
    chart = bars("CPU time of a document written, exact store", words, costs, "ms")
    page = _page(
        "Living collections",
        lines,
        "![CPU time of a document written](live_writes.svg)",
        _table(["", "exact", other["settings"]["store"]], _live_rows([exact, other])),
        _circumstances(exact, "OMP_NUM_THREADS=1 python benchmarks/live.py --keep live_exact"),
        _circumstances(
            other, "OMP_NUM_THREADS=1 python benchmarks/live.py --store faiss:IVF1024,SQ8 --keep live_faiss"
        ),
        "## Found at once, encoded later",
        _table(["until a search by terms finds a document", "deferred", "with its embedding"], _fresh_rows(first)),
        f"Encoding later costs {fresh['encode_pending to 50%']['cpu_ms_each']:.3g} to"
        f" {fresh['encode_pending to 100%']['cpu_ms_each']:.3g} ms of CPU time for each document. Mean reciprocal rank"
        f" within 10 of {fresh['questions']} questions about {fresh['documents']} paragraphs:",
        _table(
            ["encoded", "terms", "tokens", "hybrid"],
            [[name, *(f"{value:.3f}" for value in of.values())] for name, of in fresh["mrr@10"].items()],
        ),
        _circumstances(fresh, "OMP_NUM_THREADS=1 python benchmarks/freshness.py --keep freshness"),
    )
    return {"live.md": page, "live_writes.svg": chart}


def _live_rows(runs: Sequence[Run]) -> Iterable[list[str]]:
    """Rows with a column for each run."""

    def row(name: str, *cells: str) -> list[str]:
        return [name, *cells]

    yield row("documents; tokens", *(f"{r['settings']['documents']:,}; {r['build']['tokens']:,}" for r in runs))
    yield row("build from scratch, CPU s", *(f"{r['build']['cpu_s']:.3g}" for r in runs))
    for kind in ("upsert 1", "upsert 64", "delete", "update_payload"):
        for name, key, form in (("CPU ms a document", "cpu_ms_each", ".2f"), ("documents/s", "per_s", ",.0f")):
            both = [[r["writes"][f"{kind}, {word}"][key] for word in ("durable", "not durable")] for r in runs]
            yield row(f"{kind}, durable / not, {name}", *(f"{a:{form}} / {b:{form}}" for a, b in both))
    for size in runs[0]["deletes"]:
        yield row(
            f"delete in a collection of {int(size):,}, CPU ms",
            *(f"{r['deletes'][size]['cpu_ms_each']:.3f}" for r in runs),
        )
    for name, key in (("CPU ms, median", "cpu_ms_p50"), ("wall ms, p95", "wall_ms_p95")):
        spans = [[r["merge"]["search"][when][key] for when in ("before", "during", "after")] for r in runs]
        yield row(
            f"search before / during / after a merge, {name}", *(" / ".join(f"{n:,.0f}" for n in s) for s in spans)
        )
    for changed in ("1% changed", "10% changed"):
        yield row(
            f"a rebuild over upkeep, per changed document, {changed}",
            *(f"{r['rebuild_over'][changed]['upkeep']:g} times" for r in runs),
        )
    for name, key in (("default settings", "recall"), ("1 probe, 40 candidates", "recall_hard")):
        yield row(f"recall@10 after each of 10 cycles, {name}", *(_spread(r["cycles"]["cycles"], key) for r in runs))


def _spread(cycles: list[dict[str, float]], key: str) -> str:
    found = [cycle[key] for cycle in cycles if key in cycle]
    return f"{min(found):.3f} to {max(found):.3f}" if found else ""


def _fresh_rows(first: Run) -> Iterable[list[str]]:
    ways = first["deferred"], first["at once"]
    yield ["CPU ms, median", *(f"{way['cpu_ms']:.2g}" for way in ways)]
    yield ["wall ms, median / p95", *(f"{way['wall_ms']:.3g} / {way['wall_ms_p95']:.3g}" for way in ways)]


def _listed(words: Iterable[str]) -> str:
    *most, last = words
    return f"{', '.join(most)} and {last}"


def _page(title: str, lines: Sequence[str], *parts: str) -> str:
    """A page: its title, five lines that say what the figures mean, then the figures."""
    assert len(lines) == 5, f"{title} begins with {len(lines)} lines; a page of measurements begins with five"
    return "\n\n".join([NOTE, f"# {title}", "\n".join(f"- {line}" for line in lines), *parts]) + "\n"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in [head, ["---"] * len(head), *rows])


def _circumstances(run: Run, command: str) -> str:
    """When, where and how something was measured."""
    date = f"{datetime.fromisoformat(run['date']):%-d %B %Y}"
    load = f", load {run['load'][0]} before and {run['load'][1]} after" if "load" in run else ""
    versions = ", ".join(f"{name} {version}" for name, version in run["versions"].items())
    return f"`{command}`: {date}, {run['machine']}{load}; {versions}; commit {run['commit']}."


def bars(title: str, series: Sequence[str], rows: Mapping[str, Sequence[float]], unit: str) -> str:
    """A group of horizontal bars for each row, one bar for each of the series. Lengths are in proportion to values.

    Args:
        series: what the bars of a group are, at most two.
        rows: the group's name and a value for each of the series.
    """
    greatest = max(value for values in rows.values() for value in values)
    step = len(series) * HEIGHT + GAP
    height = 48 + step * len(rows)
    parts = [_text(0, 14, title, "bold")]
    for at, name in enumerate(series):
        parts += [f'<rect x="{LABEL + 150 * at}" y="22" width="10" height="10" fill="{COLOURS[at]}"/>']
        parts += [_text(LABEL + 150 * at + 14, 31, name)]
    for row, (name, values) in enumerate(rows.items()):
        top = 44 + row * step
        parts.append(_text(0, top + 11, name))
        for at, value in enumerate(values):
            y, width = top + at * HEIGHT, max(1, round(BAR * value / greatest))
            parts.append(f'<rect x="{LABEL}" y="{y}" width="{width}" height="{HEIGHT - 2}" fill="{COLOURS[at]}"/>')
            parts.append(_text(LABEL + width + 4, y + 10, f"{value:,.4g} {unit}".replace("e+0", "e")))
    size = f'width="{LABEL + BAR + 130}" height="{height}" font-family="sans-serif" font-size="11"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}>{"".join(parts)}</svg>\n'


def _text(x: int, y: int, text: str, weight: str = "normal") -> str:
    return f'<text x="{x}" y="{y}" font-weight="{weight}" fill="#777">{escape(text)}</text>'


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
