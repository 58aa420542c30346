"""The freshness tier: when a written document is found, with its embeddings deferred and with them at once.

    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 python benchmarks/freshness.py
    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 python benchmarks/freshness.py --terms binary --json

The demo collection and the embedded encoder, one thread. Documents are written one by one, durably, each into both of
two collections in turn, and searched for by a question that it answers; then what waits is encoded. CPU seconds are of
this process, all its threads: compare them within one run.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from figures import add_option, keep
from plait.eval.dataset import open_dataset
from plait.retrieval.retriever import Retriever

DEMO = Path(__file__).parent.parent / "examples" / "xquad-en"
K = 10


def cost(work: Callable[..., Any], *given: Any, **more: Any) -> tuple[float, float]:
    """Milliseconds of CPU and wall time."""
    wall, cpu = time.perf_counter(), time.process_time()
    work(*given, **more)
    return 1000 * (time.process_time() - cpu), 1000 * (time.perf_counter() - wall)


def spread(costs: list[tuple[float, float]]) -> dict[str, float]:
    cpu, wall = zip(*costs, strict=True)
    p95 = statistics.quantiles(wall, n=20)[-1]
    return {
        "cpu_ms": round(statistics.median(cpu), 2),
        "wall_ms": round(statistics.median(wall), 2),
        "wall_ms_p95": round(p95, 2),
    }


def written(indexes: dict[str, Retriever], documents: list[dict[str, Any]], asked: dict[str, str]) -> dict[str, Any]:
    """Every document written to each collection, and searched for by terms: what a document costs until it is found."""
    costs: dict[str, list[tuple[float, float]]] = {name: [] for name in indexes}
    missed = dict.fromkeys(indexes, 0)
    for document in documents:
        for name, index in indexes.items():
            costs[name].append(cost(index.upsert, [document], defer=name == "deferred"))
            if document["id"] in asked:
                hits = index.search(asked[document["id"]], K, mode="terms")
                missed[name] += document["id"] not in {hit.id for hit in hits}
    return {name: {**spread(some), "not_found": missed[name]} for name, some in costs.items()}


def rank(index: Retriever, questions: list[tuple[str, str]], mode: str) -> float:
    """The mean reciprocal rank within 10 of the one document that answers each question."""
    total = 0.0
    for (_, wanted), hits in zip(questions, index.search([text for text, _ in questions], K, mode=mode), strict=True):
        total += next((1 / (i + 1) for i, hit in enumerate(hits) if hit.id == wanted), 0.0)
    return round(total / len(questions), 4)


def run(folder: Path, terms: str, questions: int) -> dict[str, Any]:
    data = open_dataset(DEMO, "test")
    documents = list(data.corpus)
    answers = [(q, next(iter(data.qrels[q]))) for q in data.queries if q in data.qrels]
    asked = {document: data.queries[q] for q, document in answers}
    sample = [(data.queries[q], d) for q, d in answers[:: max(1, len(answers) // questions)]]
    indexes = {
        name: Retriever.create(folder / name, terms=terms, policy=None, threads=1) for name in ("deferred", "at once")
    }
    warm = {"id": "warm", "text": "What is loaded when it is first needed is loaded before."}
    for name, index in indexes.items():
        index.upsert([warm], defer=name == "deferred")
        index.search("warm", mode="hybrid")
        index.delete(["warm"])
    found: dict[str, Any] = {"one by one": written(indexes, documents, asked)}
    index, quality = indexes["deferred"], {}
    for share in (0, 0.5, 1):
        if share:
            encoded = cost(index.encode_pending, len(documents) // 2)
            found[f"encode_pending to {share:.0%}"] = {"cpu_ms_each": round(2 * encoded[0] / len(documents), 2)}
        quality[f"{share:.0%} encoded"] = {mode: rank(index, sample, mode) for mode in ("terms", "tokens", "hybrid")}
    quality["at once"] = {mode: rank(indexes["at once"], sample, mode) for mode in ("terms", "tokens", "hybrid")}
    return {**found, "mrr@10": quality, "documents": len(documents), "questions": len(sample)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--terms", default="bm25", help="bm25, binary or beta:CHECKPOINT")
    parser.add_argument("--questions", type=int, default=240)
    parser.add_argument("--json", action="store_true")
    add_option(parser)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report = run(Path(folder), arguments.terms, arguments.questions)
    keep(arguments, report, ["onnxruntime", "bm25s"])
    if arguments.json:
        print(json.dumps(report, indent=1))
        return
    for name, value in report.items():
        rows = value.items() if isinstance(value, dict) else [("", value)]
        for key, item in rows:
            print(f"{name:<24} {key:<16} {item}")


if __name__ == "__main__":
    main()
