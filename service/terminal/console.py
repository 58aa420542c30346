"""What a person sees in a terminal: results and alignments on stdout, what goes wrong on stderr."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from ...retrieval.hit import Hit
    from ...retrieval.routes.explanation import Explanation, TermContribution

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)

_SHOWN = 160
"""Characters of a hit's text."""
_COLOURS = ("cyan", "magenta", "green", "yellow", "blue", "red", "bright_cyan", "bright_magenta", "bright_green")


def print_json(value: dict[str, Any]) -> None:
    """One object on stdout, whatever the terminal."""
    print(json.dumps(value, ensure_ascii=False))


def bytes_text(size: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"


def show_hits(hits: Sequence[Hit]) -> None:
    """One hit a line: rank, score, id, title, and how its text begins."""
    if not hits:
        out.print("nothing found")
    for rank, hit in enumerate(hits, 1):
        title = str(hit.payload.get("title") or "")
        line = Text(f"{rank:3}  {hit.score:8.4f}  {hit.id}  ")
        if title and title != hit.id:
            line.append(f"{_line(title)} · ", "bold")
        out.print(line.append(_beginning(str(hit.payload.get("text", ""))), "dim"))


def _line(text: str) -> str:
    """The text on one line."""
    return " ".join(text.split())


def _beginning(text: str) -> str:
    """How a text begins, cut between two words."""
    line = _line(text[: 2 * _SHOWN])
    if len(line) <= _SHOWN and len(text) <= 2 * _SHOWN:
        return line
    head, space, _ = line[: _SHOWN + 1].rpartition(" ")
    return f"{head if space else line[:_SHOWN]} …"


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
    """The verdict, then one line a stage: how it ranks the document, how many pass, and
    the score of the last of those."""
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
