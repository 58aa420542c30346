"""Test collections: queries and qrels of every layout, and every way in which they do not fit together."""

import gzip
import sys
from collections import namedtuple
from pathlib import Path
from types import SimpleNamespace

import pytest
from paths import ROOT
from plait.eval.dataset import open_dataset
from plait.index.errors import InvalidArgument, NotFound
from plait.retrieval.corpus import document_text

CORPUS = '{"_id": "d1", "title": "T", "text": "one"}\n{"_id": "d2", "text": "two"}\n'
QUERIES = '{"_id": "q2", "text": "second"}\n{"_id": 1, "text": "first"}\n{"_id": "q3", "text": "unjudged"}\n'
HEADER = "query-id\tcorpus-id\tscore\n"
QRELS = HEADER + "1\td1\t2\n1\td2\t0\nq2\tgone\t1\nq4\td1\t0\n"


def write(path: Path, content: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content.encode()) if path.suffix == ".gz" else content.encode())
    return path


def beir(folder: Path, qrels: str = QRELS, queries: str = QUERIES, split: str = "test", suffix: str = "") -> Path:
    write(folder / f"corpus.jsonl{suffix}", CORPUS)
    write(folder / f"queries.jsonl{suffix}", queries)
    write(folder / "qrels" / f"{split}.tsv{suffix}", qrels)
    return folder


def msmarco(folder: Path, *splits: str, suffix: str = "") -> Path:
    write(folder / f"collection.tsv{suffix}", "d1\tone\nd2\ttwo\n")
    for split in splits:
        write(folder / f"queries.{split}.tsv{suffix}", f"1\tfirst of {split}\n2\tsecond\n")
        write(folder / f"qrels.{split}.tsv{suffix}", "1\t0\td2\t1\n")
    return folder


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_beir_folder(tmp_path: Path, suffix: str) -> None:
    dataset = open_dataset(beir(tmp_path / "nice", suffix=suffix))
    assert dataset.name == "nice"
    assert [d["id"] for d in dataset.corpus] == ["d1", "d2"]
    assert list(dataset.queries.items()) == [("q2", "second"), ("1", "first")], "judged queries, in file order"
    assert dataset.qrels == {"q2": {"gone": 1}, "1": {"d1": 2, "d2": 0}}
    assert list(dataset.qrels) == list(dataset.queries)
    assert dataset.measures == ("nDCG@10", "R@100", "RR@10")


@pytest.mark.parametrize("qrels", ["1 0 d1 1\nq2  0   d2 1\n", "1 Q0 d1 1\nq2 Q0 d2 1\n", "1 d1 1\nq2 d2 1\n"])
def test_trec_qrels_in_a_beir_folder(tmp_path: Path, qrels: str) -> None:
    assert open_dataset(beir(tmp_path, qrels)).qrels == {"1": {"d1": 1}, "q2": {"d2": 1}}


def test_the_split(tmp_path: Path) -> None:
    folder = beir(tmp_path, HEADER + "1\td1\t1\n", split="train")
    assert list(open_dataset(folder).queries) == ["1"], "the only split needs no name"
    beir(tmp_path, HEADER + "q2\td1\t1\n", split="dev")
    with pytest.raises(InvalidArgument, match="choose one of dev, train"):
        open_dataset(folder)
    assert list(open_dataset(folder, "dev").queries) == ["q2"]
    beir(tmp_path, HEADER + "q3\td1\t1\n")
    assert list(open_dataset(folder).queries) == ["q3"], "test unless named otherwise"
    with pytest.raises(NotFound, match=r"has no qrels/eval\.tsv; its splits are dev, test, train"):
        open_dataset(folder, "eval")


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_msmarco_folder(tmp_path: Path, suffix: str) -> None:
    folder = msmarco(tmp_path / "marco", "dev.small", suffix=suffix)
    dataset = open_dataset(folder)
    assert (dataset.name, dataset.queries) == ("marco", {"1": "first of dev.small"})
    assert dataset.qrels == {"1": {"d2": 1}}
    assert dataset.measures == ("RR@10", "R@1000")
    write(folder / "qrels.train.tsv", "9\t0\td1\t1\n")
    assert open_dataset(folder).queries == dataset.queries
    msmarco(folder, "dev", suffix=suffix)
    with pytest.raises(InvalidArgument, match=r"choose one of dev, dev\.small"):
        open_dataset(folder)
    assert open_dataset(folder, "dev").queries == {"1": "first of dev"}
    with pytest.raises(
        NotFound, match=r"has no queries\.train\.tsv and qrels\.train\.tsv; its splits are dev, dev\.small"
    ):
        open_dataset(folder, "train")


def test_missing_parts(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no file or folder"):
        open_dataset(tmp_path / "nothing")
    with pytest.raises(InvalidArgument, match="is a file"):
        open_dataset(write(tmp_path / "c.jsonl", CORPUS))
    with pytest.raises(NotFound, match=r"no judgements; looked for queries\.\*\.tsv and qrels\.\*\.tsv"):
        open_dataset(msmarco(tmp_path / "marco"))
    folder = tmp_path / "beir"
    write(folder / "corpus.jsonl", CORPUS)
    with pytest.raises(NotFound, match=r"holds none of queries\.jsonl, queries\.jsonl\.gz"):
        open_dataset(folder)
    write(folder / "queries.jsonl", QUERIES)
    with pytest.raises(NotFound, match=r"no judgements; looked for qrels/\*\.tsv"):
        open_dataset(folder)


@pytest.mark.parametrize(
    ("qrels", "reason"),
    [
        (HEADER + "1\td1\t0\n1\td2\t-1\n", "no query with a grade above 0"),
        (HEADER, "no query with a grade above 0"),
        (HEADER + "1\td1\t1\nx\td1\t1\ny\td1\t1\n", "lacks 2 judged queries, first x, y"),
        (HEADER + "1\td1\t1.5\n", r"test\.tsv, line 2: .* is no judgement"),
        ("1\td1\t1.0\n1\td2\t1\n", r"test\.tsv, line 1: .* is no judgement"),
        (HEADER + "1\td1\n", r"test\.tsv, line 2: .* is no judgement"),
        (HEADER + "1\td1\t1\n1\td1\t1\n1\td1\t2\n", r"line 4: query 1, document d1 has grades 1 and 2"),
    ],
)
def test_qrels_that_do_not_fit(tmp_path: Path, qrels: str, reason: str) -> None:
    with pytest.raises(InvalidArgument, match=reason):
        open_dataset(beir(tmp_path, qrels))


def test_queries_that_do_not_fit(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="query 1 appears twice"):
        open_dataset(beir(tmp_path, queries=QUERIES + '{"_id": "1", "text": "again"}\n'))
    with pytest.raises(InvalidArgument, match=r"queries\.jsonl, line 1: no text"):
        open_dataset(beir(tmp_path, queries='{"_id": "1"}\n'))


def test_ir_datasets_id(monkeypatch: pytest.MonkeyPatch) -> None:
    doc = namedtuple("doc", "doc_id text")
    query, topic = namedtuple("query", "query_id text"), namedtuple("topic", "query_id title description")
    qrel = namedtuple("qrel", "query_id doc_id relevance iteration")
    queries = [query("q1", "first"), query("q2", "second"), topic("q3", "third", "long")]
    qrels = [qrel("q3", "d1", 2, "0"), qrel("q1", "d1", 1, "0"), qrel("q1", "d2", 0, "0"), qrel("q2", "d1", 0, "0")]
    documents = SimpleNamespace(docs_iter=lambda: iter([doc("d1", "one")]))
    whole = SimpleNamespace(
        docs_iter=documents.docs_iter, queries_iter=lambda: iter(queries), qrels_iter=lambda: iter(qrels)
    )
    fake = SimpleNamespace(load={"beir/nice": documents, "beir/nice/test": whole}.__getitem__)
    monkeypatch.setitem(sys.modules, "ir_datasets", fake)
    dataset = open_dataset("beir/nice/test")
    assert dataset.queries == {"q1": "first", "q3": "third"}
    assert dataset.qrels == {"q1": {"d1": 1, "d2": 0}, "q3": {"d1": 2}}
    assert list(dataset.corpus) == [{"id": "d1", "text": "one"}]
    with pytest.raises(NotFound, match="has no queries; give the id of one of its splits"):
        open_dataset("beir/nice")


def test_the_demo_collection() -> None:
    dataset = open_dataset(ROOT / "examples" / "xquad-en")
    documents = {d["id"]: document_text(d) for d in dataset.corpus}
    assert (len(documents), len(dataset.queries), len(dataset.qrels)) == (240, 1190, 1190)
    assert len(set(documents.values())) == 240, "no duplicates"
    assert {doc for grades in dataset.qrels.values() for doc in grades} == set(documents)
