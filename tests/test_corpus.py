"""Corpora: every layout read from real files, every malformed file refused by name and line."""

import gzip
import json
import sys
import tempfile
from collections import Counter, namedtuple
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plait.index.errors import InvalidArgument, NotFound
from plait.retrieval.corpus import document_text, open_corpus, survey

TWO = '{"_id": "a", "title": "T", "text": "one"}\n{"_id": "b", "text": "two"}\n'


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    raw = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)
    return path


@pytest.mark.parametrize("name", ["corpus.jsonl", "corpus.jsonl.gz"])
def test_beir_folder(tmp_path: Path, name: str) -> None:
    line = '{"_id": 7, "title": "T", "text": "one", "year": 1999, "metadata": {"url": "u", "year": 5}}\n'
    path = write(tmp_path / "nice" / name, line)
    corpus = open_corpus(tmp_path / "nice")
    assert (corpus.name, corpus.path) == ("nice", path)
    expected = [{"id": "7", "title": "T", "text": "one", "year": 1999, "url": "u"}]
    assert list(corpus) == expected
    assert list(corpus) == expected, "a corpus can be read again"


@pytest.mark.parametrize("name", ["collection.tsv", "collection.tsv.gz"])
def test_msmarco_folder(tmp_path: Path, name: str) -> None:
    write(tmp_path / name, "0\tone\r\n1\t two  words\r\n\r\n2\t\r\n")
    documents = list(open_corpus(str(tmp_path)))
    assert documents == [{"id": "0", "text": "one"}, {"id": "1", "text": " two  words"}, {"id": "2", "text": ""}]


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_single_files(tmp_path: Path, suffix: str) -> None:
    lines = write(tmp_path / f"v1.notes.jsonl{suffix}", '\ufeff{"id": "x", "text": "ä", "title": null}\n')
    table = write(tmp_path / f"notes.tsv{suffix}", "x\tT\tone\ny\t\ttwo\n")
    assert list(open_corpus(lines)) == [{"id": "x", "text": "ä"}]
    assert open_corpus(lines).name == "v1.notes"
    assert [document_text(d) for d in open_corpus(table)] == ["T one", "two"]
    assert open_corpus(table).name == "notes"


def test_a_corpus_is_read_lazily(tmp_path: Path) -> None:
    corpus = open_corpus(write(tmp_path / "c.jsonl", TWO + "broken\n"))
    documents = iter(corpus)
    assert [next(documents)["id"], next(documents)["id"]] == ["a", "b"]
    with pytest.raises(InvalidArgument, match=r"c\.jsonl, line 3"):
        next(documents)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"_id": "c", "te', "Unterminated string"),
        ('["c", "text"]', "expected one JSON object, got list"),
        ('{"text": "t"}', "no _id or id"),
        ('{"_id": "c", "body": "t"}', "no text"),
        ('{"_id": "c", "text": null}', "text is None"),
        ('{"_id": "c", "text": ["t"]}', "text is .*must be a string"),
        ('{"_id": "c", "text": "t", "title": 5}', "title is 5"),
        ('{"_id": "", "text": "t"}', "the id is empty"),
        ('{"_id": null, "text": "t"}', "id is None"),
        ('{"_id": true, "text": "t"}', "id is True"),
        ('{"_id": 1.5, "text": "t"}', "id is 1.5"),
        ('{"_id": "c", "id": "d", "text": "t"}', "_id and id differ"),
        ('{"_id": "c", "text": "t", "score": NaN}', "NaN is no JSON value"),
        ('{"_id": "c", "text": "\\ud800"}', "surrogates not allowed"),
    ],
)
def test_bad_json_lines_name_file_line_and_reason(tmp_path: Path, line: str, reason: str) -> None:
    path = write(tmp_path / "c.jsonl", TWO + "\n" + line + "\n")
    with pytest.raises(InvalidArgument, match=rf"c\.jsonl, line 4: .*{reason}"):
        list(open_corpus(path))


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        ("a\tone\nb\n", "line 2: 1 tab-separated columns; expected 2"),
        ("a\tone\nb\tT\ttwo\n", "line 2: 3 tab-separated columns; expected 2"),
        ("a\tb\tc\td\n", r"line 1: 4 tab-separated columns; expected 2 \(id, text\) or 3 \(id, title, text\)"),
        ("a\tone\n\ttwo\n", "line 2: the id is empty"),
        ("a\tone\n\t\n", "line 2: the id is empty"),
    ],
)
def test_bad_tables(tmp_path: Path, table: str, reason: str) -> None:
    with pytest.raises(InvalidArgument, match=reason):
        list(open_corpus(write(tmp_path / "c.tsv", table)))


def test_invalid_utf8_names_the_line(tmp_path: Path) -> None:
    path = write(tmp_path / "c.jsonl.gz", TWO.encode() + b'{"_id": "c", "text": "\xff"}\n')
    with pytest.raises(InvalidArgument, match=r"c\.jsonl\.gz, line 3: not valid UTF-8"):
        list(open_corpus(path))


def test_a_gzip_file_cut_anywhere_is_refused(tmp_path: Path) -> None:
    whole = gzip.compress(TWO.encode())
    path = tmp_path / "c.jsonl.gz"
    for kept in range(len(whole)):
        path.write_bytes(whole[:kept])
        with pytest.raises(InvalidArgument, match="cut off or damaged"):
            list(open_corpus(path))
    path.write_bytes(TWO.encode())
    with pytest.raises(InvalidArgument, match="cut off or damaged"):
        list(open_corpus(path))


def test_missing_data(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"holds none of corpus\.jsonl, corpus\.jsonl\.gz, collection\.tsv"):
        open_corpus(tmp_path)
    with pytest.raises(NotFound, match="no file or folder"):
        open_corpus(tmp_path / "nothing")
    with pytest.raises(NotFound, match="no file or folder"):
        open_corpus("nothing.jsonl")
    with pytest.raises(InvalidArgument, match="is no corpus file"):
        open_corpus(write(tmp_path / "c.csv", "a,b"))


def test_ir_datasets_id(monkeypatch: pytest.MonkeyPatch) -> None:
    beir = namedtuple("beir", "doc_id text title metadata raw")
    long = namedtuple("long", "doc_id url title body")
    stores = {
        "beir/nice": [beir("1", "one", "T", {"url": "u"}, b"bytes are no JSON")],
        "long": [long("D1", "u", "T", "one")],
        "broken": [beir("1", "one", "T", {}, b""), beir("", "one", "T", {}, b"")],
        "images": [namedtuple("image", "doc_id url")("1", "u")],
    }
    datasets = {name: SimpleNamespace(docs_iter=rows.__iter__) for name, rows in stores.items()}
    monkeypatch.setitem(sys.modules, "ir_datasets", SimpleNamespace(load=datasets.__getitem__))
    corpus = open_corpus("beir/nice")
    assert (corpus.name, corpus.path) == ("beir/nice", None)
    assert list(corpus) == list(corpus) == [{"id": "1", "text": "one", "title": "T", "url": "u"}]
    assert list(open_corpus("long")) == [{"id": "D1", "url": "u", "title": "T", "text": "one"}]
    with pytest.raises(NotFound, match="neither a file or folder nor an ir_datasets id"):
        open_corpus("nothing")
    with pytest.raises(InvalidArgument, match=r"document 2 .*the id is empty"):
        list(open_corpus("broken"))
    with pytest.raises(InvalidArgument, match=r"no text among the fields \['id', 'url'\]"):
        list(open_corpus("images"))


def test_without_ir_datasets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ir_datasets", None)
    with pytest.raises(NotFound, match="install the package ir_datasets"):
        open_corpus("beir/nice")


LINE_TEXT = st.text(st.characters(exclude_categories=["Cs"]))
DOCUMENTS = st.lists(
    st.fixed_dictionaries(
        {"id": LINE_TEXT.filter(bool), "text": LINE_TEXT},
        optional={"title": LINE_TEXT, "year": st.integers(), "tags": st.lists(LINE_TEXT)},
    )
)


@given(DOCUMENTS, st.booleans(), st.booleans())
def test_json_lines_come_back_as_written(documents: list[dict], zipped: bool, ascii_only: bool) -> None:
    lines = "".join(json.dumps(d, ensure_ascii=ascii_only) + "\n" for d in documents)
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder) / ("c.jsonl.gz" if zipped else "c.jsonl"), lines)
        assert list(open_corpus(path)) == documents


def numbered(n: int) -> list[dict]:
    return [{"id": str(i), "text": "x" * i} for i in range(n)]


@given(st.integers(0, 60), st.integers(0, 60), st.integers())
def test_survey_counts_all_and_samples_in_order_without_repeats(n: int, size: int, seed: int) -> None:
    found = survey(numbered(n), size, seed)
    assert (found.documents, found.characters) == (n, n * (n - 1) // 2)
    numbers = [int(d["id"]) for d in found.sample]
    assert len(numbers) == min(n, size)
    assert numbers == sorted(set(numbers))
    assert found == survey(iter(numbered(n)), size, seed), "the same seed draws the same sample"


def test_every_document_is_drawn_about_equally_often() -> None:
    seeds, n, size = 4000, 12, 3
    drawn = Counter(d["id"] for seed in range(seeds) for d in survey(numbered(n), size, seed).sample)
    expected = seeds * size / n
    # Six standard deviations of a binomial count: the seeds are fixed, so this never fails by chance.
    bound = 6 * (expected * (1 - size / n)) ** 0.5
    assert all(abs(drawn[str(i)] - expected) < bound for i in range(n)), drawn


def test_survey_counts_the_title_as_document_text() -> None:
    assert survey([{"id": "a", "title": "ab", "text": "cd"}, {"id": "b", "title": "", "text": "é"}], 0).characters == 6
    with pytest.raises(InvalidArgument, match="sample is -1"):
        survey([], -1)
