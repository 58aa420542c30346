"""A bar chart as plain SVG, which needs no library and shows in light and dark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

LABEL, BAR, HEIGHT, GAP = 170, 420, 14, 6
COLOURS = ("#3b6ea8", "#c77d2e")


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
