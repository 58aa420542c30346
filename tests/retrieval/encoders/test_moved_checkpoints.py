"""A collection finds its checkpoint from anywhere, and is told where it lies when it
has moved; another one is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import plait

pytest.importorskip("torch", reason="extra encoders is not installed")
pytest.importorskip("sentence_transformers", reason="extra encoders is not installed")
import sparse_checkpoints as tiny
from plait.retrieval.text.places import checkpoints, kept
from shell import here

DOCUMENTS = [{"id": "a", "text": "venus is a planet"}, {"id": "b", "text": "mars the red"}]


def plain(folder: Path, seed: int = 7) -> Path:
    tiny.save(folder, tiny.plain(seed).state_dict(), ["BertModel"])
    return folder


def masked(folder: Path) -> Path:
    tiny.save_masked(folder, tiny.masked())
    return folder


def test_a_path_is_kept_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain(tmp_path / "models" / "mine")
    masked(tmp_path / "models" / "sparse")
    monkeypatch.chdir(tmp_path)
    with plait.create(
        "idx", encoder="models/mine", terms={"s": "splade:models/sparse", "w": "beta:models/sparse"}
    ) as index:
        index.add(DOCUMENTS)
        assert checkpoints(index.settings) == [str(tmp_path / "models" / "mine"), str(tmp_path / "models" / "sparse")]
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    with plait.open(tmp_path / "idx") as index:
        assert index.search("venus", mode="hybrid")[0].id == "a"
    with plait.create(tmp_path / "again", encoder=Path("../models/mine")) as index:
        assert checkpoints(index.settings) == [str(tmp_path / "models" / "mine")]


@pytest.mark.parametrize("name", ["minilm", "bm25", "bm25:german", "binary", "some/hub-id", "splade:some/hub-id"])
def test_what_is_no_folder_is_kept_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    (tmp_path / "minilm").mkdir()
    (tmp_path / "binary").mkdir()
    monkeypatch.chdir(tmp_path)
    assert kept(name) == name


def test_a_moved_checkpoint_is_named(tmp_path: Path) -> None:
    old = plain(tmp_path / "old")
    with plait.create(tmp_path / "c", encoder=str(old)) as index:
        index.add(DOCUMENTS)
    new = old.rename(tmp_path / "new")
    with pytest.raises(plait.NotFound) as error, plait.open(tmp_path / "c") as index:
        index.search("venus")
    assert all(
        word in str(error.value) for word in (str(old), "plait.open(path, encoder=FOLDER)", "--encoder", "checkpoints")
    )
    for given in (str(new), new, {str(old): str(new)}, {str(old): new, "/of/another": "/place"}):
        with plait.open(tmp_path / "c", encoder=given) as index:
            assert index.search("venus")[0].id == "a"
    other = plain(tmp_path / "other", seed=8)
    with (
        pytest.raises(plait.FailedPrecondition, match=f"{other} is not the one"),
        plait.open(tmp_path / "c", encoder=str(other)) as index,
    ):
        index.search("venus")
    with (
        pytest.raises(plait.NotFound, match="nowhere"),
        plait.open(tmp_path / "c", encoder=str(tmp_path / "nowhere")) as index,
    ):
        index.search("venus")
    for given in (5, ["new"]):
        with pytest.raises(plait.InvalidArgument, match="give the folder in which the checkpoint lies now"):
            plait.open(tmp_path / "c", encoder=given)  # pyright: ignore[reportArgumentType]


def test_moved_checkpoints_of_terms_are_named(tmp_path: Path) -> None:
    one, two = masked(tmp_path / "one"), plain(tmp_path / "two")
    with plait.create(tmp_path / "c", encoder=None, terms=f"splade:{one}") as index:
        index.add(DOCUMENTS)
    with plait.create(tmp_path / "both", encoder=str(two), terms={"s": str(one), "w": f"beta:{one}"}) as index:
        index.add(DOCUMENTS)
    with plait.create(tmp_path / "words", encoder=None, terms="bm25") as index:
        index.add(DOCUMENTS)
    new, second = one.rename(tmp_path / "new"), two.rename(tmp_path / "second")
    with pytest.raises(plait.NotFound, match="encoder=FOLDER"), plait.open(tmp_path / "c") as index:
        index.search("venus")
    with plait.open(tmp_path / "c", encoder=new) as index:
        assert index.search("venus")[0].id == "a"
    places = {str(one): str(new), str(two): str(second)}
    with plait.open(tmp_path / "both", encoder=places) as index:
        assert index.search("venus", mode="hybrid")[0].id == "a"
    with pytest.raises(plait.InvalidArgument, match="nothing to give a place for"):
        plait.open(tmp_path / "words", encoder=new)


def test_the_command_line_takes_the_place(tmp_path: Path) -> None:
    old = plain(tmp_path / "old")
    (tmp_path / "c.jsonl").write_text("".join(json.dumps(d) + "\n" for d in DOCUMENTS))
    here("build", tmp_path / "c.jsonl", tmp_path / "c", "--encoder", old, "-q")
    new = old.rename(tmp_path / "new")
    lost = here("search", tmp_path / "c", "venus", code=2).stderr
    assert str(old) in lost and "--encoder" in lost
    for place in (new, f"{old}={new}"):
        found = here("search", tmp_path / "c", "venus", "--encoder", place, "--json")
        assert json.loads(found.stdout)["hits"][0]["id"] == "a"
    here("explain", tmp_path / "c", "venus", "a", "--encoder", new)
    here("add", tmp_path / "c", tmp_path / "c.jsonl", "--encoder", new, "-q")
    assert "OLD=" in here("search", tmp_path / "c", "venus", "--encoder", new, "--encoder", new, code=2).stderr


def test_a_build_goes_on_by_the_same_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain(tmp_path / "models" / "mine")
    masked(tmp_path / "models" / "sparse")
    monkeypatch.chdir(tmp_path)
    Path("c.jsonl").write_text("".join(json.dumps(d) + "\n" for d in DOCUMENTS))
    fields = {"encoder": "models/mine", "terms": {"s": "splade:models/sparse"}}
    plait.create("c", **fields).close()
    begun = "build", "c.jsonl", "c", "--encoder", "models/mine", "-q"
    here(*begun, "--terms", "s=splade:models/sparse")
    assert "built already" in here(*begun, "--terms", "s=splade:models/sparse", code=1).stderr
    assert f"it has s=splade:{tmp_path / 'models' / 'sparse'}" in here(*begun, "--terms", "bm25", code=2).stderr


def test_a_server_is_told_by_a_setting(tmp_path: Path) -> None:
    pytest.importorskip("grpc_tools", reason="grpcio-tools, for development, is not installed")
    from served import serving

    old = plain(tmp_path / "old")
    (tmp_path / "root").mkdir()
    with plait.create(tmp_path / "root" / "c", encoder=str(old)) as index:
        index.add(DOCUMENTS)
    with plait.create(tmp_path / "root" / "words", encoder=None, terms="bm25") as index:
        index.add(DOCUMENTS)
    new = old.rename(tmp_path / "new")
    with (
        serving(tmp_path / "root", checkpoints={str(old): str(new)}, encoders=[str(new)]) as process,
        plait.connect(process.target) as server,
    ):
        assert server.open("c").search("venus")[0].id == "a"
        assert server.open("words").search("venus")[0].id == "a"
        assert server.create("new", encoder=new).info()["encoder"]["name"] == str(new)
        with pytest.raises(plait.InvalidArgument, match="setting checkpoints"):
            from plait.service.terminal.opening import open_index

            open_index(Path("c"), process.target, [str(new)])
