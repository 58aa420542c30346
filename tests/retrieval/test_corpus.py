"""Corpora: every layout read from real files, every malformed file refused by name and line."""

import gzip
import io
import json
import sys
import tempfile
from collections import Counter, namedtuple
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plait.eval.dataset import read_qrels
from plait.eval.measure import read_run
from plait.index.errors import InvalidArgument, NotFound
from plait.retrieval.corpus import document_text, open_corpus, read_queries, repeated, survey
from plait.retrieval.offline.vectors import read_jsonl

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
        ('{"_id": "c", "text": "\\ud800"}', "half a surrogate pair"),
    ],
)
def test_bad_json_lines_name_file_line_and_reason(tmp_path: Path, line: str, reason: str) -> None:
    path = write(tmp_path / "c.jsonl", TWO + "\n" + line + "\n")
    with pytest.raises(InvalidArgument, match=rf"c\.jsonl, line 4: .*{reason}"):
        list(open_corpus(path))


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        ("a\tone\nb\n", "line 2: 1 columns; expected 2"),
        ("a\tone\nb\tT\ttwo\n", "line 2: 3 columns; expected 2"),
        ("a\tb\tc\td\n", r"line 1: 4 columns; expected 2 \(id, text\), 3 \(id, title, text\), or a header"),
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
    with pytest.raises(InvalidArgument, match=r"is no corpus file; .*orient='records'"):
        open_corpus(write(tmp_path / "c.parquet", "a,b"))


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


LINE_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
DOCUMENTS = st.lists(
    st.fixed_dictionaries(
        {"id": LINE_TEXT.filter(bool), "text": LINE_TEXT},
        optional={"title": LINE_TEXT, "year": st.integers(-(2**63), 2**64 - 1), "tags": st.lists(LINE_TEXT)},
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


# --- tables with headers, other formats, and what every reader takes

HEADERS = {
    "DPR": (
        "id\ttext\ttitle\n1\tAaron is a prophet.\tAaron\n",
        {"id": "1", "text": "Aaron is a prophet.", "title": "Aaron"},
    ),
    "ColBERT": ("pid\tpassage\ttitle\n1\tmoon\tTides\n", {"id": "1", "text": "moon", "title": "Tides"}),
    "MS MARCO": ("pid\tpassage\n1\tmoon\n", {"id": "1", "text": "moon"}),
    "queries": ("qid\tquery\n1\twho is Aaron\n", {"id": "1", "text": "who is Aaron"}),
    "ids last": ("Title\tText\tDocNo\nTides\tmoon\t1\n", {"title": "Tides", "text": "moon", "id": "1"}),
    "others": ("_id\tyear\tcontents\n1\t2020\tmoon\n", {"id": "1", "year": "2020", "text": "moon"}),
}


@pytest.mark.parametrize("name", HEADERS)
@pytest.mark.parametrize("kind", ["tsv", "tsv.gz", "csv", "csv.gz"])
def test_a_header_is_known_by_its_names(tmp_path: Path, name: str, kind: str) -> None:
    table, expected = HEADERS[name]
    for content in (table, "\ufeff" + table.replace("\n", "\r\n"), "\n" + table):
        path = write(tmp_path / f"c.{kind}", content.replace("\t", ",") if "csv" in kind else content)
        assert list(open_corpus(path)) == [expected]


def test_a_first_line_that_names_no_columns_is_a_document(tmp_path: Path) -> None:
    for line in ("id\tthe text of it", "text\tid card", "1\ttext", "7\ttitle\ttext"):
        (document,) = open_corpus(write(tmp_path / "c.tsv", line))
        assert document["id"] == line.split("\t")[0]


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("query-id\tcorpus-id\tscore", "line 1: the header .* names no id"),
        ("id\ttitle", "names no text; call one text"),
        ("title\ttext", "names no id; call one id"),
        ("id\ttext\tyear\tyear", "a name twice"),
        ("id\ttext\t", "a column without a name"),
    ],
)
def test_headers_that_do_not_say_what_is_needed(tmp_path: Path, header: str, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        list(open_corpus(write(tmp_path / "c.tsv", f"{header}\n1\t2\t3\n")))


def test_csv_is_quoted_as_rfc_4180_has_it(tmp_path: Path) -> None:
    content = 'id,text,year\n1,"a, ""b""\nand c\u2028d",2020\n2,plain,\n'
    first, second = open_corpus(write(tmp_path / "c.csv", content))
    assert first == {"id": "1", "text": 'a, "b"\nand c\u2028d', "year": "2020"}
    assert second == {"id": "2", "text": "plain", "year": ""}
    with pytest.raises(InvalidArgument, match=r"c\.csv, line 4: 1 columns; expected 3 \(id, text, year\)"):
        list(open_corpus(write(tmp_path / "c.csv", 'id,text,year\n1,"a\nb",2\n3\n')))
    with pytest.raises(InvalidArgument, match=r"c\.csv, line 2"):
        list(open_corpus(write(tmp_path / "c.csv", 'id,text\n1,"never closed\n')))


def test_an_array_of_objects(tmp_path: Path) -> None:
    documents = [{"id": "1", "text": "moon\u2028tides"}, {"id": "2", "text": "bread", "year": 5}]
    path = write(tmp_path / "c.json.gz", "\ufeff" + json.dumps(documents, indent=1, ensure_ascii=False))
    assert list(open_corpus(path)) == documents
    for content, message in (
        ('{"id": "1", "text": "x"}', "holds one dict; expected an array"),
        ("[1]", "object 1: expected one JSON object, got int"),
        ('[{"id": "1", "text": "x"}, {"id": "2"}]', "object 2: no text among"),
        ('{"id": "1", "text": "x"}\n{"id": "2", "text": "x"}', "is not JSON: .*one object a line is a .jsonl file"),
    ):
        with pytest.raises(InvalidArgument, match=message):
            list(open_corpus(write(tmp_path / "c.json", content)))


def test_stdin_is_read_as_often_as_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(TWO.encode())))
    corpus = open_corpus("-")
    assert [d["id"] for d in corpus] == [d["id"] for d in corpus] == ["a", "b"]
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(b"broken")))
    with pytest.raises(InvalidArgument, match="stdin, line 1"):
        list(open_corpus("-"))


READERS = {
    "documents": (lambda path: list(open_corpus(path)), "c.jsonl", '{"id": "1", "text": "TEXT"}'),
    "queries": (read_queries, "q.jsonl", '{"text": "TEXT"}'),
    "queries, one a line": (read_queries, "q.txt", "TEXT"),
    "queries of a table": (read_queries, "q.tsv", "qid\tquery\n1\tTEXT"),
    "table": (lambda path: list(open_corpus(path)), "c.tsv", "1\tTEXT"),
    "qrels": (read_qrels, "test.tsv", "TEXT\tdoc\t1"),
    "run": (read_run, "run.trec", "TEXT Q0 d 1 0.5 tag"),
    "term vectors": (read_jsonl, "v.jsonl", '{"id": "1", "contents": "TEXT", "vector": {"a": 1}}'),
}


@pytest.mark.parametrize("name", READERS)
def test_every_file_is_read_alike(tmp_path: Path, name: str) -> None:
    read, file, line = READERS[name]
    wanted = read(write(tmp_path / "plain" / file, line.replace("TEXT", "é")))
    for where, content in (("marked", b"\xef\xbb\xbf"), ("crlf", b"")):
        raw = content + (line.replace("TEXT", "é") + "\r\n").encode()
        assert repr(read(write(tmp_path / where / file, raw))) == repr(wanted)
    assert repr(read(write(tmp_path / f"{file}.gz", line.replace("TEXT", "é")))) == repr(wanted)
    if name not in ("run", "table"):
        parted = read(write(tmp_path / "parted" / file, line.replace("TEXT", "a\u2028b\u0085c")))
        assert "a\\u2028b\\x85c" in repr(parted) or "a\u2028b" in str(parted)
    number = line.count("\n") + 1
    with pytest.raises(InvalidArgument, match=rf"{file}, line {number}: not valid UTF-8 .*iconv -f LATIN1"):
        read(write(tmp_path / "latin" / file, line.replace("TEXT", "é").encode("latin-1")))
    with pytest.raises(InvalidArgument, match=f"{file} is UTF-16"):
        read(write(tmp_path / "wide" / file, line.encode("utf-16")))
    with pytest.raises(NotFound, match="no file"):
        read(tmp_path / "nowhere" / file)


def test_queries_to_measure_with(tmp_path: Path) -> None:
    for content in ("", "\n\n"):
        for name in ("q.jsonl", "q.txt"):
            with pytest.raises(InvalidArgument, match="holds no queries"):
                read_queries(write(tmp_path / name, content))
    with pytest.raises(InvalidArgument, match=r"q\.jsonl, line 2: a query needs 'text' as text; it has 5"):
        read_queries(write(tmp_path / "q.jsonl", '{"text": "moon"}\n{"text": 5}\n'))
    assert read_queries(write(tmp_path / "q.txt", "moon\r\n\nthe tides\n")) == ["moon", "the tides"]


def test_an_id_twice_is_named_with_both_lines(tmp_path: Path) -> None:
    path = write(tmp_path / "c.jsonl", TWO + "\n" + TWO.splitlines()[0] + "\n")
    assert survey(open_corpus(path), 0).repeats
    assert (
        str(repeated(open_corpus(path)))
        == f"{path} has the id 'a' twice, line 1 and line 4; each document needs its own"
    )
    once = open_corpus(write(tmp_path / "once.jsonl", TWO))
    assert not survey(once, 0).repeats and repeated(once) is None


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"_id": "c", "text": "t", "n": 18446744073709551616}', "holds the integer 18446744073709551616 at n"),
        ('{"_id": "c", "text": "t", "tree": ' + "[" * 40 + "]" * 40 + "}", "nested too deep at tree"),
        ('{"_id": "c", "text": "t", "tree": ' + "[" * 100_000 + "]" * 100_000 + "}", "recursion"),
        ('{"_id": "' + "c" * 5000 + '", "text": "t"}', "5,000 characters; ids have up to 4,096"),
        ('{"_id": "c", "text": "t", "\\ud83d": 1}', "has the key .*half a surrogate pair"),
    ],
)
def test_what_could_not_be_kept_is_named_by_its_line(tmp_path: Path, line: str, reason: str) -> None:
    with pytest.raises(InvalidArgument, match=rf"c\.jsonl, line 3: .*{reason}"):
        list(open_corpus(write(tmp_path / "c.jsonl", TWO + line + "\n")))
