"""What a person sees in a terminal: progress with ETA on stderr, results and alignments on stdout."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from ..index.calibration import Calibration
from ..index.stores import Progress as Report
from ..retrieval.explanation import Explanation, TermContribution
from ..retrieval.hit import Hit

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)

_COLOURS = ("cyan", "magenta", "green", "yellow", "blue", "red", "bright_cyan", "bright_magenta", "bright_green")
_QUIET_S = 5.0


@contextmanager
def progress(quiet: bool = False) -> Iterator[Report]:
    """A progress callback: bars in a terminal, a plain line every few seconds elsewhere, nothing when quiet."""
    if quiet:
        yield lambda stage, done, total: None
    elif err.is_terminal:
        columns = (
            TextColumn("{task.description:>7}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=err) as bars:
            tasks: dict[str, int] = {}

            def show(stage: str, done: int, total: int) -> None:
                if stage not in tasks:
                    tasks[stage] = bars.add_task(stage, total=total)
                bars.update(tasks[stage], completed=done, total=total)  # type: ignore[arg-type]

            yield show
    else:
        yield _plain_lines()


def _plain_lines() -> Report:
    started: dict[str, tuple[float, int]] = {}
    last = {"": 0.0}

    def show(stage: str, done: int, total: int) -> None:
        now = time.monotonic()
        begun, first = started.setdefault(stage, (now, done))
        if done < total and now - last.get(stage, begun) < _QUIET_S:
            return
        last[stage] = now
        rate = (done - first) / (now - begun) if now > begun else 0
        left = f", {(total - done) / rate:.0f} s left" if rate and done < total else ""
        print(f"{stage}: {done:,} of {total:,}{left}", file=sys.stderr, flush=True)

    return show


def print_json(value: dict[str, Any]) -> None:
    """One object on stdout, whatever the terminal."""
    print(json.dumps(value, ensure_ascii=False))


def bytes_text(size: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"


def show_info(info: dict[str, Any]) -> None:
    """What `info` and `stats` say, one thing a line; `--json` has it whole."""
    for key, value in info.items():
        if key == "bytes":
            parts = sorted(((n, b) for n, b in value.items() if n != "total"), key=lambda pair: -pair[1])
            shown = f"{bytes_text(value['total'])}: " + ", ".join(f"{n} {bytes_text(b)}" for n, b in parts)
        elif key == "recall":
            shown = "; ".join(_recall(side) for side in (value, (value or {}).get("terms")) if side and side["points"])
            shown = shown or "not measured"
        elif key == "segments":
            drifts = [f"{s['drift']:.3f}" for s in value if s["drift"] is not None]
            shown = f"{len(value)}" + (f" (drift {', '.join(drifts)})" if drifts else "")
        elif key == "encoder" and value:
            spec = value["spec"]
            shown = f"{value['name']} ({spec['family']}, {spec['dim']} dimensions, documents cut at {spec['document_length']} tokens)"
        elif key == "term_fields":
            shown = ", ".join(f"{field['name']} ({field['weights']:,} weights)" for field in value)
        elif isinstance(value, list):
            shown = ", ".join(value) or "none"
        else:
            shown = f"{value:,}" if isinstance(value, int | float) else str(value)
        out.print(f"{key.replace('_', ' '):>18}  {shown}", markup=False)


def _recall(side: dict[str, Any]) -> str:
    """What was measured of searches by tokens, or by terms."""
    best = max(side["points"], key=lambda p: p["recall"])
    kind = "" if "nprobe" in best else "by terms "
    return f"{kind}up to {best['recall']:.3f} at k = {best['k']} ({side['queries']} queries, {side['source']})"


def show_calibration(measured: Calibration) -> None:
    """The frontiers, one setting a line."""
    terms = measured.terms
    for points, names in (
        (measured.points, ("nprobe", "candidates")),
        (terms.points if terms else (), ("term_candidates", "query_terms", "min_idf", "alpha")),
    ):
        if not points:
            continue
        table = Table(box=None, pad_edge=False, header_style="bold")
        for name in ("k", "recall", "at least", "CPU ms", *names):
            table.add_column(name.replace("_", " "), justify="right")
        for p in points:
            spent = ("all" if getattr(p, name) is None else f"{getattr(p, name)}" for name in names)
            table.add_row(f"{p.k}", f"{p.recall:.4f}", f"{p.low:.4f}", f"{p.cpu_ms:.2f}", *spent)
        out.print(table)
    queries = max(measured.queries, terms.queries if terms else 0)
    out.print(f"{queries} queries ({measured.source}), {measured.documents:,} documents")


def show_hits(hits: Sequence[Hit]) -> None:
    if not hits:
        out.print("nothing found")
    for rank, hit in enumerate(hits, 1):
        text = str(hit.payload.get("text", ""))
        title = f"{hit.payload['title']} · " if hit.payload.get("title") else ""
        out.print(Text(f"{rank:3}  {hit.score:8.4f}  {hit.id}  ").append(title, "bold").append(text[:160], "dim"))


def show_explanation(why: Explanation) -> None:
    """The document with its matched tokens in colours, then every query token with its match and contribution."""
    order = sorted((m for m in why.matches if m.document), key=lambda m: -m.contribution)
    colours: dict[tuple[int, int], str] = {}
    for match in order:
        for span in match.document.spans if match.document else ():
            colours.setdefault(span, _COLOURS[len(colours) % len(_COLOURS)])
    if why.text:
        body = Text(why.text)
        for (start, end), colour in colours.items():
            body.stylize(f"bold {colour}", start, end)
        out.print(body)
    if why.matches:
        _show_matches(why, colours)
    for field, score in why.field_scores.items():
        _show_terms([term for term in why.terms if term.field == field], field, score)
    if why.lanes:
        _show_lanes(why)


def show_stages(why: Explanation) -> None:
    """The verdict, then one line a stage: how it ranks the document, how many pass, and the score of the last of those."""
    out.print(Text(why.verdict, "bold"))
    table = Table(box=None, pad_edge=False, header_style="bold")
    coded = any(stage.codec_error is not None for stage in why.stages)
    for name in (
        "stage",
        "",
        "rank",
        "places",
        "score",
        "last score to pass",
        *(("error of its codes",) if coded else ()),
    ):
        table.add_column(name, justify="left" if name in ("stage", "") else "right")
    for stage in why.stages:
        numbers = [stage.score, stage.cutoff, *([stage.codec_error] if coded else [])]
        shown = ["" if n is None else f"{n:.4f}" for n in numbers]
        counts = ["" if n is None else f"{n:,}" for n in (stage.rank, stage.limit)]
        table.add_row(stage.name, "passed" if stage.passed else "fell out", *counts, *shown)
    out.print(table)


def _show_lanes(why: Explanation) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("lane", "rank", "score", "weight", "contribution"):
        table.add_column(name, justify="left" if name == "lane" else "right")
    for lane in why.lanes:
        rank = "not found" if lane.rank is None else f"{lane.rank:,}"
        score = "" if lane.score is None else f"{lane.score:.4f}"
        table.add_row(lane.lane, rank, score, f"{lane.weight:g}", f"{lane.contribution:.4f}")
    table.add_row(Text("score after fusion", "bold"), "", "", "", Text(f"{why.score:.4f}", "bold"))
    out.print(table)


def _show_matches(why: Explanation, colours: dict[tuple[int, int], str]) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name, side in (("query token", "left"), ("met", "left"), ("similarity", "right"), ("contribution", "right")):
        table.add_column(name, justify=side)  # type: ignore[arg-type]
    for match in why.matches:
        colour = colours.get(match.document.spans[0], "") if match.document and match.document.spans else "dim"
        met = match.document.text if match.document else "(imputed)"
        table.add_row(
            Text(match.query.text, colour), Text(met, colour), f"{match.similarity:.4f}", f"{match.contribution:.4f}"
        )
    # Of a hybrid search the token pairs explain their lane; the lanes explain the score.
    total = float(sum(match.contribution for match in why.matches)) if why.lanes else why.score
    name = "score by tokens" if why.lanes else "score"
    table.add_row("", "", Text(name, "bold"), Text(f"{total:.4f}", "bold"))
    out.print(table)


def _show_terms(terms: Sequence[TermContribution], field: str, score: float) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("term", "query weight", "document weight", "contribution"):
        table.add_column(name, justify="left" if name == "term" else "right")  # type: ignore[arg-type]
    for match in terms:
        weights = f"{match.query_weight:.4f}", f"{match.document_weight:.4f}", f"{match.contribution:.4f}"
        table.add_row(Text(match.term), *weights)
    table.add_row(Text(f"score by {field}", "bold"), "", "", Text(f"{score:.4f}", "bold"))
    out.print(table)
