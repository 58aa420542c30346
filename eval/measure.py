"""Measures of ranked results, TREC run files, and the test that tells two runs apart.

Measures are ir-measures' over trec_eval and MS MARCO's script. nDCG has linear gains, as in trec_eval:
DCG@k = Σ_{r ≤ k} grade(r) / log2(r + 1), over the DCG of the best order of the judged documents; a negative grade
counts as 0. (Papers that gain 2^grade - 1 give other numbers on graded judgements.)
"""

from __future__ import annotations

import gzip
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from ..index.errors import FailedPrecondition, InvalidArgument
from ..retrieval.text_files import read_lines

if TYPE_CHECKING:
    from ir_measures import Measure

Run = Mapping[str, Sequence[tuple[str, float]]]
"""Document ids with scores, by query id."""

EXAMPLES = "nDCG@10, R@100, RR@10, AP, P@5, Success@1, Judged@10"


@dataclass(frozen=True)
class Measured:
    """Values keyed by the measure's canonical name (`NDCG@10` becomes `nDCG@10`)."""

    mean: dict[str, float]
    """The arithmetic mean over all judged queries."""
    per_query: dict[str, dict[str, float]]
    """Measure, then query id."""


def parse_measures(names: Sequence[str | Measure]) -> list[Measure]:
    """ir-measures' notation, `Name(parameter=value)@cutoff`.

    Raises:
        InvalidArgument: an unknown name or parameter, a cutoff or `rel` below 1, a measure that needs other software.
        FailedPrecondition: ir-measures is not installed.
    """
    ir_measures = _ir_measures()
    return [_parse_measure(ir_measures, name) for name in names]


def evaluate(run: Run, qrels: Mapping[str, Mapping[str, int]], measures: Sequence[str | Measure]) -> Measured:
    """Every query of `qrels` counts, one without results as 0; queries of the run that have no judgements do not.

    Results are ordered by falling score; equal scores keep the run's order (trec_eval orders them by document id).

    Raises:
        InvalidArgument: no judgements, an unknown measure, a document twice in a ranking, a score that is not finite.
        FailedPrecondition: ir-measures is not installed.
    """
    parsed = parse_measures(measures)
    if not qrels:
        raise InvalidArgument("no judgements: there is nothing to measure against")
    # Ranks turned round, not scores: trec_eval keeps scores in 32 bits and would tie, then reorder, close ones.
    ranked = {q: {doc: -float(rank) for rank, (doc, _) in enumerate(_ranking(q, run[q]))} for q in qrels if run.get(q)}
    per_query: dict[str, dict[str, float]] = {str(m): dict.fromkeys(qrels, 0.0) for m in parsed}
    judgements = {query: dict(grades) for query, grades in qrels.items()}
    for metric in _ir_measures().iter_calc(parsed, judgements, ranked):
        per_query[str(metric.measure)][metric.query_id] = float(metric.value)
    return Measured({name: fmean(values.values()) for name, values in per_query.items()}, per_query)


def paired_test(a: Mapping[str, float], b: Mapping[str, float]) -> tuple[float, float]:
    """Two-sided paired t-test over per-query values of two runs: the mean of a - b, and p.

    Raises:
        InvalidArgument: the runs were measured on different queries, or on fewer than two.
    """
    if a.keys() != b.keys() or len(a) < 2:
        raise InvalidArgument(f"a paired test needs the same queries twice, at least 2; got {len(a)} and {len(b)}")
    differences = [a[query] - b[query] for query in a]
    mean = fmean(differences)
    error = math.sqrt(sum((d - mean) ** 2 for d in differences) / (len(a) - 1) / len(a))
    if error == 0:
        return mean, 1.0 if mean == 0 else 0.0
    from scipy import stats  # here, since importing it takes longer than all the rest of the command line

    return mean, float(2 * stats.t.sf(abs(mean) / error, len(a) - 1))


def write_run(path: str | Path, run: Run, tag: str) -> None:
    """A TREC run file (`query Q0 document rank score tag`, ranks from 1), gzipped when the path ends in .gz.

    Scores are written in full, so that `read_run` gives back the same ranking. A query without results leaves no line.

    Raises:
        InvalidArgument: an id or tag that is empty or holds white space, a document twice, a score that is not finite.
    """
    path = Path(path)
    lines = []
    for query, results in run.items():
        for rank, (doc, score) in enumerate(_ranking(query, results), 1):
            lines.append(f"{_word(query)} Q0 {_word(doc)} {rank} {score!r} {_word(tag)}\n")
    with gzip.open(path, "wt", encoding="utf-8") if path.suffix == ".gz" else path.open("w", encoding="utf-8") as file:
        file.writelines(lines)


def read_run(path: str | Path) -> dict[str, list[tuple[str, float]]]:
    """Rankings of a TREC run file by falling score; equal scores keep the order of the file.

    Raises:
        InvalidArgument: a malformed line, by file and number; a document twice; a score that is no finite number.
    """
    run: dict[str, list[tuple[str, float]]] = {}
    for number, line in read_lines(Path(path)):
        try:
            query, _, doc, _, score, _ = line.split()
            run.setdefault(query, []).append((doc, float(score)))
        except ValueError as error:
            raise InvalidArgument(
                f"{path}, line {number}: {line!r:.80} is no result; expected query, Q0, document, rank, score, tag"
            ) from error
    return {query: _ranking(query, results) for query, results in run.items()}


def _ranking(query: str, results: Sequence[tuple[str, float]]) -> list[tuple[str, float]]:
    pairs = [(doc, float(score)) for doc, score in results]
    if len({doc for doc, _ in pairs}) < len(pairs):
        raise InvalidArgument(f"query {query} has a document twice among its {len(pairs)} results")
    if not all(math.isfinite(score) for _, score in pairs):
        raise InvalidArgument(f"query {query} has a score that is no finite number")
    return sorted(pairs, key=lambda pair: -pair[1])


def _word(text: str) -> str:
    if text.split() != [text]:
        raise InvalidArgument(f"{text!r} is empty or holds white space; a run file's columns are separated by it")
    return text


def _parse_measure(ir_measures: Any, name: str | Measure) -> Measure:
    try:
        measure = ir_measures.parse_measure(name)
        known = any(p.supports(measure) for p in (ir_measures.pytrec_eval, ir_measures.msmarco, ir_measures.judged))
    except (ValueError, NameError, AssertionError, TypeError) as error:
        raise InvalidArgument(f"{name!r} is no measure ({error}); valid ones are {EXAMPLES}") from error
    # A cutoff below 1 would end the process: trec_eval does not guard against it.
    if not known or any(measure.params.get(bound, 1) < 1 for bound in ("cutoff", "rel")):
        raise InvalidArgument(f"{name!r} cannot be measured here; valid ones are {EXAMPLES}")
    return measure


def _ir_measures() -> Any:
    try:
        import ir_measures
    except ImportError as error:
        raise FailedPrecondition("measuring needs ir-measures: pip install 'plait[eval]'") from error
    return ir_measures
