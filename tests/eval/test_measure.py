"""Measures against their formulas, run files there and back, the paired test, and the BM25 baseline."""

import gzip
import math
import os
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from plait.eval import bm25
from plait.eval.dataset import open_dataset
from plait.eval.measure import evaluate, paired_test, parse_measures, read_run, write_run
from plait.index.errors import FailedPrecondition, InvalidArgument
from plait.retrieval.corpus import document_text
from scipy import stats

DOCS = st.sampled_from([f"d{i}" for i in range(12)])
RANKING = st.lists(DOCS, unique=True, max_size=12)
GRADES = st.dictionaries(DOCS, st.integers(-1, 3), min_size=1)
JUDGED_RANKINGS = st.dictionaries(st.sampled_from("pqrs"), st.tuples(RANKING, GRADES), min_size=1)


def scored(ranking: list[str]) -> list[tuple[str, float]]:
    return [(doc, float(-rank)) for rank, doc in enumerate(ranking)]


def dcg(grades: list[int]) -> float:
    return sum(max(grade, 0) / math.log2(rank + 1) for rank, grade in enumerate(grades, 1))


def ndcg(ranking: list[str], grades: dict[str, int], k: int) -> float:
    ideal = dcg(sorted(grades.values(), reverse=True)[:k])
    return dcg([grades.get(doc, 0) for doc in ranking[:k]]) / ideal if ideal else 0.0


def recall(ranking: list[str], grades: dict[str, int], k: int) -> float:
    relevant = {doc for doc, grade in grades.items() if grade > 0}
    return len(relevant & set(ranking[:k])) / len(relevant) if relevant else 0.0


def reciprocal_rank(ranking: list[str], grades: dict[str, int], k: int) -> float:
    return next((1 / rank for rank, doc in enumerate(ranking[:k], 1) if grades.get(doc, 0) > 0), 0.0)


@given(JUDGED_RANKINGS, st.integers(1, 12))
def test_measures_equal_their_formulas(data: dict[str, tuple[list[str], dict[str, int]]], k: int) -> None:
    run = {query: scored(ranking) for query, (ranking, _) in data.items()}
    qrels = {query: grades for query, (_, grades) in data.items()}
    measured = evaluate(run, qrels, [f"nDCG@{k}", f"R@{k}", f"RR@{k}"])
    for name, formula in (("nDCG", ndcg), ("R", recall), ("RR", reciprocal_rank)):
        expected = {query: formula(ranking, grades, k) for query, (ranking, grades) in data.items()}
        assert measured.per_query[f"{name}@{k}"] == pytest.approx(expected)
        assert measured.mean[f"{name}@{k}"] == pytest.approx(sum(expected.values()) / len(expected))


@given(JUDGED_RANKINGS)
def test_a_query_without_results_counts_as_zero(data: dict[str, tuple[list[str], dict[str, int]]]) -> None:
    run = {query: scored(ranking) for query, (ranking, _) in data.items()}
    qrels = {query: grades for query, (_, grades) in data.items()}
    names = ["nDCG@10", "RR@10", "AP", "Judged@10"]
    before, after = evaluate(run, qrels, names), evaluate(run, {**qrels, "silent": {"d0": 1}}, names)
    for name in names:
        assert after.per_query[name] == {**before.per_query[name], "silent": 0.0}
        assert after.mean[name] == pytest.approx(before.mean[name] * len(qrels) / (len(qrels) + 1))


def test_unjudged_queries_and_score_ties() -> None:
    qrels = {"q": {"good": 1}}
    for results in ([("good", 1.0), ("bad", 1.0)], [("bad", 1.0), ("good", 1.0 + 1e-12)]):
        measured = evaluate({"q": results, "unjudged": [("bad", 1.0)]}, qrels, ["nDCG@1", "RR", "RR@1"])
        assert measured.mean == {"nDCG@1": 1.0, "RR": 1.0, "RR@1": 1.0}
        assert list(measured.per_query["RR"]) == ["q"]
    assert evaluate({"q": [("bad", 1.0), ("good", 1.0)]}, qrels, ["RR", "RR@1"]).mean == {"RR": 0.5, "RR@1": 0.0}


def test_measure_names() -> None:
    assert [str(m) for m in parse_measures(["NDCG@10", "MRR@10", "P(rel=2)@5"])] == ["nDCG@10", "RR@10", "P(rel=2)@5"]
    assert parse_measures(parse_measures(["AP"])) == parse_measures(["AP"])
    unusable = (
        "nope",
        "nDCG@",
        "nDCG@x",
        "P",
        "P(x=1)@5",
        "nDCG(1)@5",
        "1+1",
        "",
        "nDCG@0",
        "R@-1",
        "P(rel=0)@5",
        "ERR@10",
    )
    for name in unusable:
        with pytest.raises(InvalidArgument, match=r"valid ones are nDCG@10, R@100"):
            parse_measures(["AP", name])


def test_runs_that_cannot_be_measured() -> None:
    qrels = {"q": {"a": 1}}
    with pytest.raises(InvalidArgument, match="no judgements"):
        evaluate({}, {}, ["AP"])
    with pytest.raises(InvalidArgument, match="query q has a document twice among its 2 results"):
        evaluate({"q": [("a", 1.0), ("a", 0.5)]}, qrels, ["AP"])
    with pytest.raises(InvalidArgument, match="query q has a score that is no finite number"):
        evaluate({"q": [("a", math.nan)]}, qrels, ["AP"])


def test_missing_packages_name_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("ir_measures", "bm25s"):
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(FailedPrecondition, match=r"plait\[eval\]"):
        parse_measures(["AP"])
    with pytest.raises(FailedPrecondition, match=r"plait\[lexical\]"):
        bm25.build(["cat"])


WORD = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(lambda t: t.split() == [t])
SCORE = st.floats(allow_nan=False, allow_infinity=False)
RUN = st.dictionaries(WORD, st.lists(st.tuples(WORD, SCORE), unique_by=lambda result: result[0], min_size=1))


@given(RUN, WORD, st.booleans())
def test_a_run_file_gives_back_the_ranking(run: dict[str, list[tuple[str, float]]], tag: str, zipped: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / ("run.gz" if zipped else "run")
        write_run(path, run, tag)
        assert read_run(path) == {q: sorted(results, key=lambda r: r[1], reverse=True) for q, results in run.items()}
        raw = gzip.decompress(path.read_bytes()) if zipped else path.read_bytes()
    columns = [line.split() for line in raw.decode().split("\n")[:-1]]
    assert [int(c[3]) for c in columns] == [rank + 1 for results in run.values() for rank in range(len(results))]
    assert {(c[1], c[5]) for c in columns} <= {("Q0", tag)}


def test_float32_scores_keep_their_order(tmp_path: Path) -> None:
    low, high = np.array([30, np.nextafter(np.float32(30), np.float32(31))], np.float32)
    write_run(tmp_path / "run", {"q": [("low", low), ("high", high)]}, "t")
    assert read_run(tmp_path / "run") == {"q": [("high", float(high)), ("low", 30.0)]}


def test_run_files_are_ordered_by_score_not_by_rank_or_line(tmp_path: Path) -> None:
    path = tmp_path / "run"
    path.write_text("q Q0 b 1 0.5 t\np Q0 x 1 1 t\nq\tQ0\ta\t2\t0.75\tt\n\nq Q0 c 3 0.5 t\n")
    assert read_run(path) == {"q": [("a", 0.75), ("b", 0.5), ("c", 0.5)], "p": [("x", 1.0)]}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("q Q0 a 1 1.0 t\nq Q0 b 2 0.5\n", "line 2: .* is no result"),
        ("q Q0 a 1 high t\n", "line 1: .* is no result"),
        ("q Q0 a 1 nan t\n", "no finite number"),
        ("q Q0 a 1 1 t\nq Q0 a 2 0 t\n", "a document twice"),
    ],
)
def test_bad_run_files(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "run").write_text(text)
    with pytest.raises(InvalidArgument, match=reason):
        read_run(tmp_path / "run")


@pytest.mark.parametrize("word", ["", "a b", "a\t", "\u2003"])
def test_ids_with_white_space_are_refused(tmp_path: Path, word: str) -> None:
    for query, doc, tag in ((word, "d", "t"), ("q", word, "t"), ("q", "d", word)):
        with pytest.raises(InvalidArgument, match="is empty or holds white space"):
            write_run(tmp_path / "run", {query: [(doc, 1.0)]}, tag)
    assert not (tmp_path / "run").exists()


def test_paired_test_equals_scipy() -> None:
    rng = np.random.default_rng(0)
    for n in (2, 3, 50):
        x, y = rng.normal(0, 1, n), rng.normal(0.3, 1, n)
        a, b = {str(i): float(v) for i, v in enumerate(x)}, {str(i): float(y[i]) for i in reversed(range(n))}
        assert paired_test(a, b) == pytest.approx((np.mean(x - y), stats.ttest_rel(x, y).pvalue))
        assert paired_test(b, a) == pytest.approx((np.mean(y - x), stats.ttest_rel(x, y).pvalue))


def test_paired_test_at_its_ends() -> None:
    assert paired_test({"p": 0.5, "q": 1.0}, {"p": 0.5, "q": 1.0}) == (0.0, 1.0)
    assert paired_test({"p": 0.75, "q": 1.0}, {"p": 0.5, "q": 0.75}) == (0.25, 0.0)
    for other in ({"p": 0.5, "r": 1.0}, {"p": 0.5}):
        with pytest.raises(InvalidArgument, match="same queries"):
            paired_test({"p": 0.5, "q": 1.0}, other)
    with pytest.raises(InvalidArgument, match="at least 2; got 1 and 1"):
        paired_test({"p": 0.5}, {"p": 0.5})


# Words that the stemmer leaves as they are.
WORDS = st.lists(st.sampled_from(["cat", "dog", "bird", "fish", "wolf"]), max_size=8)


@given(st.lists(WORDS, min_size=1).filter(any), WORDS, st.integers(1, 6), st.floats(0, 3), st.floats(0, 1))
def test_bm25_equals_its_formula(texts: list[list[str]], query: list[str], k: int, k1: float, b: float) -> None:
    mean_length = sum(map(len, texts)) / len(texts)

    def score(text: list[str]) -> float:
        total, counts = 0.0, Counter(text)
        for term in (t for t in query if counts[t]):
            df = sum(term in other for other in texts)
            idf = math.log(1 + (len(texts) - df + 0.5) / (df + 0.5))
            total += idf * counts[term] / (counts[term] + k1 * (1 - b + b * len(text) / mean_length))
        return total

    index = bm25.build((" ".join(text) for text in texts), k1=k1, b=b)
    (hits,) = bm25.search(index, [" ".join(query)], k)
    scores = [score(text) for text in texts]
    best = sorted((s for s in scores if s > 0), reverse=True)[:k]
    np.testing.assert_allclose(hits.scores, np.array(best, np.float32), rtol=1e-5)
    np.testing.assert_allclose(hits.scores, np.array([scores[doc] for doc in hits.docs], np.float32), rtol=1e-5)
    assert len(set(hits.docs.tolist())) == len(hits)


def test_bm25_stems_drops_stop_words_and_stays_silent(capfd: pytest.CaptureFixture[str]) -> None:
    index = bm25.build(["", "The Runner is running", "a cat, the cats", "the"])
    found = [hits.docs.tolist() for hits in bm25.search(index, ["runs", "CAT?", "the", "", "zebra", "cat running"], 3)]
    assert found == [[1], [2], [], [], [], [2, 1]]
    assert capfd.readouterr() == ("", "")


def test_bm25_refuses_what_it_cannot_do() -> None:
    for knobs in ({"k1": -0.1}, {"b": -0.1}, {"b": 1.1}):
        with pytest.raises(InvalidArgument, match="k1 must be 0 or more, b between 0 and 1"):
            bm25.build(["cat"], **knobs)
    for texts in ([], ["", "the a"]):
        with pytest.raises(InvalidArgument, match="no text holds a term"):
            bm25.build(texts)
    with pytest.raises(InvalidArgument, match="k is 0"):
        bm25.search(bm25.build(["cat"]), ["cat"], 0)


@pytest.mark.parametrize(
    ("name", "ndcg_at_10"),
    [
        ("scifact", 0.679),
        ("cranfield", 0.425),
        ("med", 0.699),
        ("npl", 0.436),
        ("xquad-en", 0.967),
        ("msmarco-dl19-pool", 0.725),
        ("dbpedia-pool", 0.359),
    ],
)
def test_bm25_on_real_collections(name: str, ndcg_at_10: float) -> None:
    folder = os.environ.get("PLAIT_COLLECTIONS")
    if not folder or not (Path(folder) / name).is_dir():
        pytest.skip(f"PLAIT_COLLECTIONS names no folder that holds {name}")
    dataset = open_dataset(Path(folder) / name)
    documents = list(dataset.corpus)
    hits = bm25.search(bm25.build(map(document_text, documents)), list(dataset.queries.values()), 100)
    run = {
        query: [(documents[doc]["id"], score) for doc, score in zip(found.docs, found.scores, strict=True)]
        for query, found in zip(dataset.queries, hits, strict=True)
    }
    assert evaluate(run, dataset.qrels, ["nDCG@10"]).mean["nDCG@10"] == pytest.approx(ndcg_at_10, abs=0.005)
