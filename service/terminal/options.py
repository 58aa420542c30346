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
SystemName = Annotated[
    str | None,
    typer.Option(
        "--system",
        help="colbert (all tokens of a candidate), xtr (retrieved tokens) or coil (tokens of equal id); default: colbert, coil for a COIL checkpoint.",
    ),
]
Elsewhere = Annotated[
    list[str] | None,
    typer.Option(
        "--encoder",
        metavar="FOLDER",
        help="Where the collection's checkpoint lies now, if it has moved; of several, OLD=NEW, repeatable. It must be the same.",
    ),
]
Encoder = Annotated[
    str | None,
    typer.Option(help="minilm (embedded, the default), a checkpoint folder, a hub id, or none (terms alone)."),
]
Pool = Annotated[str | None, typer.Option(help="Token pooling: a factor (2), or method:factor (kmeans:3).")]
Prune = Annotated[
    list[str] | None, typer.Option(help="Token pruning, repeatable: first:50, idf:50, idf:70%, attention:50%.")
]
Reduce = Annotated[
    list[str] | None, typer.Option(help="Any reducer, in order, before --prune and --pool: skip:punctuation, single.")
]
Dim = Annotated[
    int | None, typer.Option(help="Project to this many dimensions by PCA; 128 costs up to 2 points of nDCG@10.")
]
Store = Annotated[
    str | None,
    typer.Option(
        help="auto (by size, the default), exact, flat (4-bit codes), lists (the same, for large collections), or faiss:FACTORY such as faiss:IVF1024,PQ64x4fs or faiss:IVF,SQ8."
    ),
]
Precision = Annotated[
    str | None,
    typer.Option(
        help="How token vectors are kept: float16 (the default), int8 (half the bytes), pq:72, pq:64 or pq:32 (bytes a token), residual:1, 2 or 4 (bits, as ColBERTv2)."
    ),
]
QueryLength = Annotated[int | None, typer.Option(help="Query tokens kept (default: the checkpoint's).")]
DocumentLength = Annotated[int | None, typer.Option(help="Document tokens kept (default: the checkpoint's).")]
Expansion = Annotated[
    int | None, typer.Option(help="Fill queries with [MASK] to this length, 0 to 128 (default: the checkpoint's).")
]
EncoderType = Annotated[
    str | None,
    typer.Option(
        "--dtype",
        help="What a checkpoint runs in: float32, float16 or bfloat16 (default: float32 on a CPU, half precision on a GPU).",
    ),
]
Defer = Annotated[
    bool,
    typer.Option("--defer", help="Found by terms at once (bm25, binary, beta); `encode` computes the rest later."),
]
Cache = Annotated[Path | None, typer.Option(help="Folder that keeps encoder output, for repeated builds.")]
TermsName = Annotated[
    list[str] | None,
    typer.Option(
        "--terms",
        help="Sparse terms beside the token vectors: bm25, bm25:LANGUAGE, a sparse checkpoint, binary, or beta:CHECKPOINT (documents as binary has them, queries embedded). Repeatable: several fields, each NAME=... or called by its kind (bm25).",
    ),
]
Vector = Annotated[
    bool, typer.Option("--vector", help="Keep the encoder's single vector of each document too, for --mode vector.")
]
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
