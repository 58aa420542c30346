"""What can be known before a document is encoded is checked before, and a refused start leaves nothing in the way."""

import json
from importlib.util import find_spec
from pathlib import Path

import pytest
from plait.index.errors import FailedPrecondition, InvalidArgument
from plait.index.late import faiss_params
from plait.retrieval.encoders.load import load_encoder
from plait.retrieval.reducers import recipe
from plait.retrieval.text.term_side import load_terms
from shell import plait as run

import plait

pytest.importorskip("bm25s", reason="the extra `lexical` is not installed")
TERMS = ("--encoder", "none", "--terms", "bm25")


def corpus(path: Path, count: int = 3) -> Path:
    texts = ["bread rises with yeast", "the moon makes tides", "cats sleep all day"]
    path.write_text("\n".join(json.dumps({"id": str(i), "text": texts[i % 3]}) for i in range(count)))
    return path


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--device", "cuda:77"), "cuda:77"),
        (("--device", "gpu"), "use cpu or cuda:N"),
        (("--terms", "bm26"), "did you mean 'bm25'"),
        (("--encoder", "minilmm"), "did you mean 'minilm'"),
        (("--store", "hnsw"), "store is 'hnsw'"),
        (("--precision", "int4"), "precision is 'int4'"),
        (("--prune", "idf"), "idf needs a count or a share: idf:50, idf:70%"),
    ],
)
def test_a_refused_build_leaves_nothing(tmp_path: Path, options: tuple[str, ...], message: str) -> None:
    data = corpus(tmp_path / "c.jsonl")
    given = options if "--terms" in options or "--encoder" in options else ("--terms", "bm25", *options)
    done = run("build", data, tmp_path / "x", *given, code=1 if "77" in message else 2)
    assert message in done.stderr and "encode:" not in done.stderr
    assert not (tmp_path / "x").exists()
    run("build", data, tmp_path / "x", *TERMS)


def test_bad_data_leaves_nothing_either(tmp_path: Path) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"id": "a", "text": "whole"}\n{"id": "b", "te')
    assert "line 2" in run("build", bad, tmp_path / "x", *TERMS, code=2).stderr
    assert not (tmp_path / "x").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("kept")
    assert "notes.txt" in run("build", bad, tmp_path / "mine", *TERMS, code=1).stderr
    assert [file.name for file in (tmp_path / "mine").iterdir()] == ["notes.txt"]


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    data = corpus(tmp_path / "c.jsonl")
    said = run("build", data, data, *TERMS, code=2).stderr
    assert f"{data} is a file; give a folder" in said and "Errno" not in said
    assert "Errno" not in run("build", data, "/proc/x", *TERMS, code=1).stderr


def test_faiss_is_looked_for_before_a_document_is_encoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.MonkeyPatch.context() as here:
        here.setattr(faiss_params, "find_spec", lambda name: None)
        with pytest.raises(FailedPrecondition, match=r"plait\[faiss\]"):
            plait.create(tmp_path / "c", encoder=None, dim=8, store="faiss:IVF,SQ8")
        assert not (tmp_path / "c").exists()
    if find_spec("faiss") is None:
        return
    # A collection that was made where FAISS was: bulk writes ask again before they read a document.
    with plait.create(tmp_path / "c", encoder=None, dim=8, store="faiss:IVF,SQ8") as index:
        monkeypatch.setattr(faiss_params, "find_spec", lambda name: None)
        with pytest.raises(FailedPrecondition, match=r"plait\[faiss\]"), index.collection.builder():
            raise AssertionError("a bulk write began")


def test_a_device_is_looked_for_before_anything_is_made(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="extra encoders is not installed")
    for device, error in (("cuda:77", FailedPrecondition), ("tpu", InvalidArgument)):
        with pytest.raises(error, match=device):
            plait.create(tmp_path / "c", encoder=None, dim=8, device=device)
        assert not (tmp_path / "c").exists()
    plait.create(tmp_path / "c", encoder=None, dim=8).close()
    with pytest.raises(FailedPrecondition, match="cuda:77"):
        plait.open(tmp_path / "c", device="cuda:77")


def test_unknown_settings_of_create_leave_nothing(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match=r"unknown setting 'pool'.*reduce=\['pool:2'\]"):
        plait.create(tmp_path / "c", encoder=None, dim=8, pool=2)  # pyright: ignore[reportCallIssue]
    with pytest.raises(InvalidArgument, match="encoder is <function"):
        plait.create(tmp_path / "c", encoder=lambda texts: texts)  # pyright: ignore[reportArgumentType]
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize(
    ("step", "why"),
    [
        ("idf", "idf needs a count or a share"),
        ("pool:0", "'0' is no whole number from 1 up"),
        ("pool", "pool needs a factor"),
        ("pool:median:2", "no way of pooling is called 'median'"),
        ("skip:stopword", "skip takes punctuation or stopwords"),
        ("keep:clss", "no role is called 'clss'"),
        ("first:101%", "a share is at most 100%"),
        ("frist:5", "did you mean first?"),  # codespell:ignore frist
    ],
)
def test_a_step_says_what_is_wrong_with_it(step: str, why: str) -> None:
    with pytest.raises(InvalidArgument) as error:
        recipe.parse([step])
    assert str(error.value).startswith(f"cannot read step {step!r}: ") and why in str(error.value)


def test_a_name_that_is_nearly_right_asks_no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr("socket.socket.connect", refuse)
    monkeypatch.chdir(tmp_path)
    for name in ("bm26", "bm52:german", "binray"):
        with pytest.raises(InvalidArgument, match="did you mean"):
            load_terms(name)
    with pytest.raises(InvalidArgument, match="did you mean 'minilm'"):
        load_encoder("mini-lm")


def test_other_settings_are_named_with_both_values(tmp_path: Path) -> None:
    data = corpus(tmp_path / "c.jsonl")
    run("build", data, tmp_path / "x", *TERMS)
    finished = run("build", data, tmp_path / "x", "--encoder", "none", "--terms", "bm25:german", code=2).stderr
    assert "a finished collection of 3 documents" in finished and "--restart" not in finished
    assert "terms: bm25:german is asked for, it has bm25" in finished
    assert "built already" in run("build", data, tmp_path / "x", *TERMS, code=1).stderr

    plait.create(tmp_path / "y", encoder=None, terms="bm25").close()
    begun = "build", data, tmp_path / "y", "--encoder", "none", "--terms", "binary"
    unfinished = run(*begun, code=2).stderr
    assert "an unfinished build of 0 documents" in unfinished and "--restart" in unfinished
    assert "terms: binary is asked for, it has bm25" in unfinished
    if find_spec("tokenizers"):
        info = json.loads(run(*begun, "--restart", "--json").stdout)["collection"]
        assert info["term_encoder"] == "binary" and info["documents"] == 3
