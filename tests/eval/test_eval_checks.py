"""`plait eval` looks at everything before it encodes, and says where data and collection do not meet."""

import csv
import json
from pathlib import Path

import pytest
from plait.eval import checking, experiment
from plait.eval.dataset import open_dataset, read_qrels
from plait.index.errors import FailedPrecondition, InvalidArgument
from shell import plait as run

import plait

pytest.importorskip("bm25s", reason="the extra `lexical` is not installed")
pytest.importorskip("ir_measures", reason="the extra `eval` is not installed")
TERMS = ("--encoder", "none", "--terms", "bm25")
TEXTS = ("bread rises with yeast", "the moon makes tides", "cats sleep all day")


def dataset(
    folder: Path, ids: tuple[str, ...] = ("0", "1", "2"), judged: tuple[str, ...] = ("1",), query: str = "q"
) -> Path:
    (folder / "qrels").mkdir(parents=True)
    rows = [json.dumps({"_id": id, "text": text}) for id, text in zip(ids, TEXTS, strict=False)]
    (folder / "corpus.jsonl").write_text("\n".join(rows))
    (folder / "queries.jsonl").write_text(json.dumps({"_id": query, "text": "moon tides and bread"}))
    with (folder / "qrels" / "test.tsv").open("w", newline="") as file:
        written = csv.writer(file, delimiter="\t")
        written.writerows([("query-id", "corpus-id", "score"), *((query, id, 1) for id in judged)])
    return folder


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--measures", "nDCG10"), "nDCG10"),
        (("--mode", "hybird"), "hybird"),  # codespell:ignore hybird
        (("--mode", "hybrid"), "holds no tokens or vector"),
        (("--mode", "tokens"), "holds no token vectors"),
        (("--mode", "vector"), "holds no global vectors"),
        (("--fusion", "rff"), "rff"),
        (("--target-recall", "2"), "target_recall is 2"),
        (("--field", "titel"), "titel"),  # codespell:ignore titel
        (("--run", "no-such-folder/x.run"), "no-such-folder"),
        (("-k", "5"), "k is 5"),
        (("--system", "bm25", "--mode", "terms"), "--mode"),
    ],
)
def test_refused_before_a_document_is_encoded(tmp_path: Path, options: tuple[str, ...], message: str) -> None:
    own = () if "--system" in options else TERMS
    done = run("eval", dataset(tmp_path / "d"), *own, *options, code=1 if "--run" in options else 2)
    assert message in done.stderr and "encode:" not in done.stderr and not done.stdout


def test_options_that_contradict_a_collection_are_refused_with_both_values(tmp_path: Path) -> None:
    data = dataset(tmp_path / "d")
    run("build", data, tmp_path / "c", *TERMS)
    right = run("eval", data, "--collection", tmp_path / "c", "--terms", "bm25", "--measures", "RR@10").stdout
    assert "RR@10" in right and "3 documents" in right
    for options, said in (
        (("--pool", "4"), "reducers: pool:4 is asked for, it has none"),
        (("--precision", "pq:32"), "precision: pq:32 is asked for, it has float16"),
        (("--terms", "bm25:german"), "terms: bm25:german is asked for, it has bm25"),
        (("--store", "flat"), "store: flat is asked for, it has auto"),
        (("--encoder", "minilm"), "encoder: minilm is asked for, it has none"),
        (("--document-length", "99"), "document_length: 99 is asked for, it has none"),
    ):
        assert said in run("eval", data, "--collection", tmp_path / "c", *options, code=2).stderr


def test_the_documents_are_those_that_were_searched(tmp_path: Path) -> None:
    data = dataset(tmp_path / "d")
    with plait.create(tmp_path / "c", encoder=None, terms="bm25") as index:
        index.add([{"id": str(i), "text": TEXTS[i % 3]} for i in range(7)])
        report = experiment.evaluate_retriever(open_dataset(data), index, ["RR@10"])
    assert report.documents == 7
    assert experiment.evaluate_bm25(open_dataset(data), ["RR@10"]).documents == 3


def test_judged_documents_that_are_not_there(tmp_path: Path) -> None:
    none = dataset(tmp_path / "none", judged=("doc1", "doc2"))
    for options in (TERMS, ("--system", "bm25")):
        done = run("eval", none, *options, code=2)
        assert "none of the 2 judged documents is among the 3" in done.stderr and "'doc1'" in done.stderr
        assert "encode:" not in done.stderr
    some = dataset(tmp_path / "some", judged=("1", "doc2"))
    assert "1 of the 2 judged documents are not" in run("eval", some, *TERMS, "-q").stderr
    with plait.create(tmp_path / "c", encoder=None, terms="bm25") as index:
        index.add([{"id": "else", "text": "tides"}])
    said = run("eval", some, "--collection", tmp_path / "c", code=2).stderr
    assert "none of the 2 judged documents is among the 1 of" in said and "'else'" in said


def test_quotes_in_qrels_are_read_as_beir_does(tmp_path: Path) -> None:
    id = '<dbpedia:"Heroes"_(album)>'
    data = dataset(tmp_path / "d", ids=("<bread>", id), judged=(id,))
    assert open_dataset(data).qrels == {"q": {id: 1}}
    raw = json.loads(run("eval", data, *TERMS, "--json", "-q").stdout)
    assert raw["mean"]["nDCG@10"] > 0
    assert "none of the 1 judged" in run("eval", data, *TERMS, "--raw-qrels", code=2).stderr
    # What BEIR's reader would not take for a quoted cell stays as it is.
    odd = tmp_path / "odd.tsv"
    odd.write_text('query-id\tcorpus-id\tscore\nq\t"a\t1\nq\tb"c"\t1\nq\t"d"e"\t1\nq\t"f""g"\t1\nq\t""\t1\n')
    assert set(read_qrels(odd, quoted=True)["q"]) == {'"a', 'b"c"', '"d"e"', 'f"g', ""}
    assert set(read_qrels(odd)["q"]) == {'"a', 'b"c"', '"d"e"', '"f""g"', '""'}


def test_the_querys_own_document(tmp_path: Path) -> None:
    data = dataset(tmp_path / "d", judged=("0",), query="1")
    given = json.loads(run("eval", data, *TERMS, "--json", "--measures", "RR@2").stdout)
    done = run("eval", data, *TERMS, "--json", "--measures", "RR@2", "--skip-own", "--run", tmp_path / "r")
    assert given["mean"]["RR@2"] == 0.5 and json.loads(done.stdout)["mean"]["RR@2"] == 1.0
    assert "--skip-own" not in done.stderr
    assert "1 queries have the id of a document" in run("eval", data, *TERMS).stderr
    assert [line.split()[2] for line in (tmp_path / "r").read_text().splitlines()] == ["0"]


def test_as_many_results_as_before_without_the_own_document(tmp_path: Path) -> None:
    data = open_dataset(dataset(tmp_path / "d", judged=("0",), query="1"))
    with plait.create(tmp_path / "c", encoder=None, terms="bm25") as index:
        index.add([{"id": str(i), "text": "moon tides"} for i in range(9)])
        report = experiment.evaluate_retriever(data, index, ["RR@3"], skip_own=True)
        assert len(report.run["1"]) == 3 and "1" not in dict(report.run["1"])
        assert len(experiment.evaluate_retriever(data, index, ["RR@3"], results=5).run["1"]) == 5


def test_ids_with_white_space_cost_the_run_and_not_the_figures(tmp_path: Path) -> None:
    data = dataset(tmp_path / "d", ids=("doc 0", "doc 1"), judged=("doc 1",))
    done = run("eval", data, *TERMS, "--run", tmp_path / "x.run", code=2)
    assert "nDCG@10  1.0000" in done.stdout
    first, *_, last = [line for line in done.stderr.splitlines() if "white space" in line]
    assert "no run will be written" in first and "doc" in last
    assert done.stderr.index(first) < done.stderr.index("encode:") and not (tmp_path / "x.run").exists()


def test_a_run_file_that_cannot_be(tmp_path: Path) -> None:
    for path, why in ((tmp_path, "that is a folder"), (tmp_path / "no" / "x", "there is no folder")):
        with pytest.raises(FailedPrecondition, match=why):
            checking.check_run_file(path)
    checking.check_run_file(tmp_path / "x.run")


def test_a_collection_of_given_vectors_cannot_be_asked_in_text(tmp_path: Path) -> None:
    plait.create(tmp_path / "c", encoder=None, dim=8).close()
    done = run("eval", dataset(tmp_path / "d"), "--collection", tmp_path / "c", code=2)
    assert "vectors that were given, and no encoder makes them" in done.stderr


def test_depth(tmp_path: Path) -> None:
    assert checking.depth_of(["nDCG@10", "R@100"]) == 100 and checking.depth_of(["AP"]) == 1000
    assert checking.depth_of(["nDCG@10"], 50) == 50 and checking.depth_of(["AP"], 5) == 5
    with pytest.raises(InvalidArgument, match="R@100 looks at 100 results"):
        checking.depth_of(["nDCG@10", "R@100"], 50)
