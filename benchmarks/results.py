"""The results page: every system and reduction on every collection, each row by one `plait eval` command.

    python benchmarks/results.py COLLECTIONS [--cache DIR] [--only NAME] [--threads N]

COLLECTIONS holds BEIR folders. Finished runs are kept in build/results.jsonl, so the command goes on where it stopped;
docs/measurements/results.md is written anew at the end.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

from figures import add_option, keep

ROOT = Path(__file__).parent.parent
KEPT = ROOT / "build" / "results.jsonl"
COLLECTIONS = ("scifact", "cranfield", "npl", "med", "msmarco-dl19-pool", "dbpedia-pool")
SYSTEMS = {
    "BM25": "--system bm25",
    "single vector": "--reduce single",
    "late interaction, exact": "",
    "projected to 128 dimensions": "--dim 128",
    "projected to 96 dimensions": "--dim 96",
    "flat, 16-byte codes": "--store flat",
    "flat, projected to 128": "--dim 128 --store flat",
    "FAISS IVF, SQ8": "--store faiss:IVF1024,SQ8",
    "FAISS IVF, PQ96 fast scan": "--store faiss:IVF1024,PQ96x4fs",
    "XTR scoring, exact retrieval": "--system xtr",
    "XTR scoring, k' = 1,000": "--system xtr --k-token 1000",
    "XTR scoring on FAISS SQ8": "--system xtr --store faiss:IVF1024,SQ8",
    "pooled by 2": "--pool 2",
    "pooled by 3": "--pool 3",
    "pooled by 4": "--pool 4",
    "first 70 %": "--prune first:70%",
    "first 50 %": "--prune first:50%",
    "rarest 70 % (idf)": "--prune idf:70%",
    "rarest 50 % (idf)": "--prune idf:50%",
    "without punctuation": "--reduce skip:punctuation",
}


def measure(data: Path, name: str, options: str, cache: Path | None, threads: int) -> dict:
    """One run of `plait eval`, or what an earlier one printed. The exact store unless the options name another."""
    done = [json.loads(line) for line in KEPT.read_text().splitlines()] if KEPT.exists() else []
    for row in done:
        if (row["collection"], row["options"]) == (name, options):
            return row
    command = [
        sys.executable,
        "-c",
        "from plait.service.cli.main import main; main()",
        "eval",
        str(data / name),
        "--json",
    ]
    if "--store" not in options and "bm25" not in options:
        command += ["--store", "exact"]
    command += ["--threads", str(threads), *options.split(), *(["--cache", str(cache)] if cache else [])]
    print(f"{name}: plait eval {name} {options}", file=sys.stderr, flush=True)
    report = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout)
    report.pop("per_query")
    row = {"collection": name, "options": options, **report}
    KEPT.parent.mkdir(exist_ok=True)
    with KEPT.open("a") as file:
        file.write(json.dumps(row) + "\n")
    return row


def table(rows: dict[tuple[str, str], dict], names: list[str], cell) -> list[str]:
    """A Markdown table: a line per system, a column per collection."""
    lines = ["| system | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    return lines + [f"| {s} | " + " | ".join(cell(rows[s, n]) for n in names) + " |" for s in SYSTEMS]


def page(rows: dict[tuple[str, str], dict], names: list[str], intro: str) -> str:
    """docs/measurements/results.md: the text by hand up to the mark, the tables from the runs."""

    def quality(row: dict) -> str:
        return f"{row['mean']['nDCG@10']:.3f} / {row['mean']['R@100']:.3f}"

    def size(row: dict) -> str:
        return (
            "–"
            if row["bytes"] is None
            else f"{row['tokens'] / row['documents']:.0f} / {row['bytes'] / row['documents'] / 1000:.1f}"
        )

    def speed(row: dict) -> str:
        return f"{1000 * row['cpu_s']['search'] / row['queries']:.1f}"

    def counts(name: str) -> str:
        row = rows["late interaction, exact", name]
        return f"{name} {row['documents']:,} / {row['queries']} / {row['tokens']:,}"

    versions = next(iter(rows.values()))["versions"]
    commands = [f"| {label} | `{f'plait eval COLLECTION {options}'.strip()}` |" for label, options in SYSTEMS.items()]
    parts = [intro.rstrip(), "## nDCG@10 / recall@100", *table(rows, names, quality)]
    parts += ["## Tokens per document / kB per document", *table(rows, names, size)]
    parts += [
        "## CPU ms per query, searching (batches of 64 queries; encoding them is not in it)",
        *table(rows, names, speed),
    ]
    parts += ["## Commands", "| system | command |\n|---|---|", *commands]
    parts += ["Documents / queries / tokens: " + "; ".join(map(counts, names)) + "."]
    parts += ["Versions: " + ", ".join(f"{k} {v}" for k, v in versions.items()) + "."]
    text = ""
    for part in parts:
        text += part + ("\n" if part.startswith("|") else "\n\n")
    return text.replace("|\n\n##", "|\n\n##").replace("|\n##", "|\n\n##").replace("|\nDocuments", "|\n\nDocuments")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("collections", type=Path)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--only", action="append", choices=COLLECTIONS)
    parser.add_argument("--threads", type=int, default=1)
    add_option(parser)
    arguments = parser.parse_args()
    names: list[str] = arguments.only or list(COLLECTIONS)
    rows = {
        (label, name): measure(arguments.collections, name, options, arguments.cache, arguments.threads)
        for name in names
        for label, options in SYSTEMS.items()
    }
    if names != list(COLLECTIONS):
        return
    keep(arguments, {"runs": list(rows.values())}, ["onnxruntime", "ir-measures"])
    target = ROOT / "docs" / "measurements" / "results.md"
    mark = "<!-- tables below: benchmarks/results.py -->"
    intro = (target.read_text() if target.exists() else f"# Results\n\n{mark}\n").partition(mark)[0]
    target.write_text(page(rows, names, f"{intro}{mark}"))


if __name__ == "__main__":
    main()
