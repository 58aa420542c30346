"""The options that several commands share, each said once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from ...index.errors import InvalidArgument

SPENT = (
    *("k_token", "nprobe", "candidates", "target_recall", "mode", "depth", "fusion", "weights"),
    *("lanes", "field", "scorer"),
    *("term_candidates", "query_terms", "min_idf", "alpha"),
)
"""Names of `search_parameters`, in their order."""

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
KToken = Annotated[int | None, typer.Option(help="Tokens retrieved per query token (k').")]
Nprobe = Annotated[int | None, typer.Option(help="Lists visited per query token.")]
Candidates = Annotated[int | None, typer.Option(help="Documents scored exactly at the end.")]
Missing = Annotated[str | None, typer.Option(help="XTR's missing similarities: kth, zero, none, or a number.")]
TargetRecall = Annotated[
    float | None,
    typer.Option(help="The cheapest parameters that were measured to find this share of the exact top k."),
]
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
Mode = Annotated[
    str | None,
    typer.Option(
        help="tokens (late interaction), terms (sparse), vector (global vectors), sum (terms and vector), hybrid (all or --lanes, fused), rerank (terms, then tokens, --scorer, or with beta: the documents' embeddings)."
    ),
]
Depth = Annotated[int | None, typer.Option(help="Documents that each side gives to hybrid, and terms to rerank.")]
Fusion = Annotated[
    str | None, typer.Option(help="How hybrid fuses: rrf (reciprocal ranks) or weighted (normalised scores).")
]
Weights = Annotated[
    str | None, typer.Option(help="What each lane counts in hybrid, as 1,0.5: of --lanes, or tokens, terms, vector.")
]
Lanes = Annotated[
    str | None, typer.Option(help="What hybrid fuses, as tokens,bm25: tokens, vector, term fields (default: all).")
]
Field = Annotated[
    str | None, typer.Option(help="The term field of a search by terms, or of what is reranked (default: the first).")
]
Scorer = Annotated[str | None, typer.Option(help="What reranks: tokens (the default), vector or a term field.")]
TermCandidates = Annotated[
    int | None,
    typer.Option(help="By terms: score only so many documents of a segment (default: all that could count)."),
]
QueryTerms = Annotated[
    int | None, typer.Option(help="With --term-candidates: only so many of the heaviest keys find candidates.")
]
MinIdf = Annotated[
    float | None, typer.Option(help="With --term-candidates: only keys rarer than this find candidates.")
]
Alpha = Annotated[
    float | None,
    typer.Option(help="By terms: leave out what is bounded below the k-th score / alpha (default: 1, nothing)."),
]
Exact = Annotated[bool, typer.Option("--exact", help="Compare with every stored token, whatever the store.")]
Filter = Annotated[
    str | None,
    typer.Option(help='A condition on payload fields, as JSON: {"year": 2020}, {"range": {"year": {"gte": 2000}}}.'),
]
Folder = Annotated[Path, typer.Argument(help="A collection's folder.")]


def search_parameters(missing: str | None, exact: bool, *numbers: Any) -> dict[str, Any]:
    """Search parameters that were given, under their names; `numbers` as in `SPENT`."""
    chosen: dict[str, Any] = {"exact": exact or None, **dict(zip(SPENT, numbers, strict=True))}
    if missing is not None:
        try:
            chosen["missing"] = float(missing)
        except ValueError:
            chosen["missing"] = missing
    return {name: value for name, value in chosen.items() if value is not None}


def read_weights(text: str | None) -> tuple[float, ...] | None:
    """The numbers of `--weights`. InvalidArgument: they are none."""
    if text is None:
        return None
    try:
        return tuple(map(float, text.split(",")))
    except ValueError:
        raise InvalidArgument(f"--weights is {text!r}; write one number for each lane, such as 1,0.5") from None


def read_lanes(text: str | None) -> tuple[str, ...] | None:
    """The names of `--lanes`."""
    return None if text is None else tuple(name.strip() for name in text.split(","))


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
