"""The options that several commands share, each said once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from ...index.errors import InvalidArgument

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]
Threads = Annotated[int | None, typer.Option(min=1, help="CPU threads (default: the libraries' own choice).")]
Device = Annotated[str, typer.Option(help="Where encoder and FAISS run: cpu, or cuda[:N].")]
DeviceMemory = Annotated[
    int | None,
    typer.Option(min=0, help="Bytes that a collection may take on the device (default: 0.8 of what is free there)."),
]
Elsewhere = Annotated[
    list[str] | None,
    typer.Option(
        "--encoder",
        metavar="FOLDER",
        help="Where the collection's checkpoint lies now, if it has moved; of several, OLD=NEW, repeatable. It must be the same.",
    ),
]
Pool = Annotated[str | None, typer.Option(help="Token pooling: a factor (2), or method:factor (kmeans:3).")]
Prune = Annotated[
    list[str] | None, typer.Option(help="Token pruning, repeatable: first:50, idf:50, idf:70%, attention:50%.")
]
Store = Annotated[
    str | None,
    typer.Option(
        help="auto (by size, the default), exact, flat (4-bit codes), lists (the same, for large collections), or faiss:FACTORY such as faiss:IVF1024,PQ64x4fs or faiss:IVF,SQ8."
    ),
]
Defer = Annotated[
    bool,
    typer.Option("--defer", help="Found by terms at once (bm25, binary, beta); `encode` computes the rest later."),
]
Cache = Annotated[Path | None, typer.Option(help="Folder that keeps encoder output, for repeated builds.")]
Filter = Annotated[
    str | None,
    typer.Option(help='A condition on payload fields, as JSON: {"year": 2020}, {"range": {"year": {"gte": 2000}}}.'),
]
Folder = Annotated[Path, typer.Argument(help="A collection's folder.")]


def one_question(context: typer.Context) -> None:
    """InvalidArgument: words are left over, because a question stood without quotes."""
    if context.args:
        raise InvalidArgument(
            f"what follows the question is not understood: {' '.join(context.args)!r}; put a question of several words in "
            'quotes, as in "why does bread rise"'
        )


def read_filter(text: str | None) -> dict[str, Any] | None:
    """The JSON of `--filter`. InvalidArgument: it is none."""
    if text is None:
        return None
    try:
        value = json.loads(text)
    except ValueError as error:
        raise InvalidArgument(
            f"--filter {text!r} is not JSON ({error}); write for example '{{\"year\": 2020}}'"
        ) from None
    if not isinstance(value, dict):
        raise InvalidArgument(f"--filter {text!r} is no JSON object; write for example '{{\"year\": 2020}}'")
    return value
