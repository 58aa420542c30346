"""`plait import-colbert`: a ColBERTv2 index becomes a collection."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ...index.errors import FailedPrecondition
from ..terminal.console import print_json
from ..terminal.describing import show_info
from ..terminal.options import Json, Quiet, Store, Threads
from ..terminal.progress import progress


def register(app: typer.Typer) -> None:
    """Puts the command on the command line."""
    app.command("import-colbert")(import_colbert)


def import_colbert(
    index: Annotated[Path, typer.Argument(help="Folder of a ColBERTv2 or PLAID index.")],
    collection: Annotated[Path, typer.Argument(help="Folder to make.")],
    texts: Annotated[
        str | None, typer.Option(help="What was indexed, collection.tsv or as for build: ids 0, 1, 2, ...")
    ] = None,
    encoder: Annotated[
        str | None, typer.Option(help="The checkpoint that made the index, for queries that are texts.")
    ] = None,
    store: Store = None,
    threads: Threads = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Take over a ColBERTv2 index, code by code: scores are those of its own formula. Needs torch."""
    try:
        from ...retrieval.offline import colbert_index
    except ImportError as error:
        raise FailedPrecondition(f"ColBERT's files need {error.name}: pip install 'plait[encoders]'") from None

    with (
        progress(quiet) as report,
        colbert_index.import_colbert(
            index, collection, texts=texts, encoder=encoder, store=store or "auto", progress=report, threads=threads
        ) as made,
    ):
        info = made.info()
    if as_json:
        print_json(info)
    else:
        show_info(info)
