"""Recall against time, drawn from what `late_interaction.py --json` prints.

    python benchmarks/engine_plot.py ROWS.jsonl PICTURE.svg [--title TEXT]

One line for each engine and build: its settings that no other setting of the same build beats. Needs matplotlib.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from importlib import import_module
from pathlib import Path
from typing import Any

from engine_report import Row, frontier

BUILDS = ("bytes", "rows", "nbits", "dimensions")
"""Parameters of a build: settings that differ in others alone lie on one line."""


def lines(rows: list[Row]) -> dict[str, list[tuple[float, float]]]:
    """By engine and build, rising recall@10 and CPU milliseconds of the settings on its own frontier."""
    grouped: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        build = [f"{name} {row['params'][name]}" for name in BUILDS if name in row["params"]]
        grouped[" ".join([row["engine"], *build])].append(row)
    return {
        name: sorted((r["recall@10"], r["cpu_ms@10"]) for r, best in zip(own, frontier(own), strict=True) if best)
        for name, own in grouped.items()
    }


def draw(rows: list[Row], path: Path, title: str) -> None:
    matplotlib: Any = import_module("matplotlib")
    matplotlib.use("agg")
    # Text stays text: the picture is small and can be searched.
    matplotlib.rcParams["svg.fonttype"] = "none"
    figure, axes = import_module("matplotlib.pyplot").subplots(figsize=(9, 5.5))
    for name, points in lines(rows).items():
        recall, cpu = zip(*points, strict=True)
        ours = name.startswith("plait")
        axes.plot(recall, cpu, "o-" if ours else "s--", label=name, markersize=4, linewidth=2 if ours else 1)
    axes.set(yscale="log", xlabel="recall@10 against exact MaxSim", ylabel="CPU ms a query, one thread", title=title)
    axes.grid(which="both", alpha=0.3)
    axes.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(
        path, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")) if path.suffix == ".svg" else None
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--title", default="")
    arguments = parser.parse_args()
    read = [json.loads(line) for line in arguments.rows.read_text().splitlines()]
    draw([row for row in read if row["recall@10"] is not None], arguments.picture, arguments.title)


if __name__ == "__main__":
    main()
