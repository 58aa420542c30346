"""Draws a hit with its token pairs: `python docs/generate/hit.py docs/hit.svg` makes the picture of the README.

A line joins each token of the query with the token of the document that it met. The thicker the line, the more the pair
adds to the score.
"""

from __future__ import annotations

import sys
import tempfile
from html import escape
from pathlib import Path

import plait

QUERY = "why does dough rise"
DOCUMENT = "Bread rises because yeast ferments the flour."
_CHARACTER, _MARGIN, _HEIGHT = 12, 90, 230
_WIDTH = 2 * _MARGIN + _CHARACTER * len(DOCUMENT)
_STYLE = (
    "text{font:20px ui-monospace,Menlo,Consolas,monospace;fill:#1f2328;text-anchor:middle}"
    ".small{font-size:14px;fill:#59636e}path{fill:none;stroke:#0969da;stroke-opacity:.5}"
)


def explained() -> plait.Explanation:
    """Why the document has its score for the query, in a collection that is made for this."""
    with tempfile.TemporaryDirectory() as folder, plait.create(Path(folder) / "notes") as index:
        index.add([{"id": "a", "text": DOCUMENT}])
        return index.search(QUERY)[0].explain()


def drawn(why: plait.Explanation) -> str:
    """An explanation as SVG: the tokens of the query above, the document below, a line for each pair."""
    step = (_WIDTH - _MARGIN) / (len(why.matches) - 1)
    shapes = [
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#fff"/>',
        f'<text x="{_WIDTH / 2:.0f}" y="{_HEIGHT - 30}" textLength="{_CHARACTER * len(DOCUMENT)}">{DOCUMENT}</text>',
        _text(_WIDTH / 2, _HEIGHT - 6, f"score {why.score:.2f}, the sum of the figures above", "small"),
    ]
    special = {match.document.text for match in why.matches if match.document and not match.document.spans}
    shapes += [_text(_place(text, []), _HEIGHT - 30, text, "small") for text in sorted(special)]
    for i, match in enumerate(why.matches):
        x = _MARGIN / 2 + step * i
        shapes += [_text(x, 24, match.query.text), _text(x, 44, f"{match.contribution:.2f}", "small")]
        if match.document:
            end = _place(match.document.text, match.document.spans)
            way = f"M{x:.0f} 50C{x:.0f} 110 {end:.0f} 110 {end:.0f} {_HEIGHT - 50}"
            shapes.append(f'<path d="{way}" stroke-width="{8 * match.contribution**2:.1f}"/>')
    size = f'width="{_WIDTH}" height="{_HEIGHT}" viewBox="0 0 {_WIDTH} {_HEIGHT}"'
    return "\n".join(
        [f'<svg xmlns="http://www.w3.org/2000/svg" {size}>', f"<style>{_STYLE}</style>", *shapes, "</svg>\n"]
    )


def _place(text: str, spans: list[tuple[int, int]]) -> float:
    """Where a token of the document is drawn: at its characters, or, if it stands for no text, beside the text."""
    if spans:
        return _MARGIN + _CHARACTER * (spans[0][0] + spans[0][1]) / 2
    return _MARGIN / 2 if text == "[CLS]" else _WIDTH - _MARGIN / 2


def _text(x: float, y: float, text: str, style: str = "") -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" class="{style}">{escape(text)}</text>'


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(drawn(explained()))
