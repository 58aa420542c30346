"""The small files of a server: a flipped bit is told, with the file's name, and sends nobody elsewhere."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("grpc")
from plait.index.errors import DataLoss, NotFound, PlaitError
from plait.index.tokens import from_matrices
from plait.service import keys
from plait.service.hosting.aliases import FILE, Aliases
from plait.service.hosting.collections import Collections, CollectionThere
from plait.service.settings import Settings
from questions import flipped

import plait


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("prod-0", "prod-1"):
        plait.create(tmp_path / name, encoder=None, dim=4).close()
    return tmp_path


@pytest.fixture
def collections(root: Path) -> Iterator[Collections]:
    opened = Collections(Settings(root=root))
    opened.set_alias("live", "prod-1")
    yield opened
    opened.close()


def test_no_flipped_bit_sends_an_alias_elsewhere(tmp_path: Path) -> None:
    Aliases(tmp_path).write({"live": "prod-1", "old": "prod-0"})
    good = (tmp_path / FILE).read_bytes()
    told = 0
    for bit in range(8 * len(good)):
        (tmp_path / FILE).write_bytes(flipped(good, bit))
        aliases = Aliases(tmp_path)
        if aliases.damage is not None:
            told += 1
            assert FILE in aliases.damage
            with pytest.raises(DataLoss, match=r"aliases\.json"):
                aliases.find("live")
        else:
            assert aliases.all() == {"live": "prod-1", "old": "prod-0"}, bit
    assert told > 7 * len(good), "but for spaces, every bit says something"


@pytest.mark.parametrize("content", [b"", b"[]", b'{"aliases": {}}', b'{"live": 1}', bytes(40), b"[" * 100_000])
def test_a_damaged_file_of_aliases_closes_them_alone(collections: Collections, root: Path, content: bytes) -> None:
    good = (root / FILE).read_bytes()
    (root / FILE).write_bytes(content)
    for name in ("prod-0", "prod-1"):
        with collections.use(name) as opened:
            assert opened.name == name
    for call in (
        lambda: collections.use("live").__enter__(),
        lambda: collections.set_alias("other", "prod-0"),
        lambda: collections.reserved("new").__enter__(),
    ):
        with pytest.raises(DataLoss, match=r"aliases\.json"):
            call()
    assert collections.damage().keys() == {FILE} and collections.aliases_of("prod-1") == []
    again = Collections(Settings(root=root))
    assert again.damage().keys() == {FILE}
    with again.use("prod-1"):
        pass
    again.close()
    (root / FILE).write_bytes(good)
    with collections.use("live") as opened:
        assert opened.name == "prod-1"
    assert collections.damage() == {} and collections.aliases_of("prod-1") == ["live"]


def test_aliases_without_a_checksum_are_read_and_get_one(root: Path) -> None:
    (root / FILE).write_text('{"live": "prod-1"}')
    collections = Collections(Settings(root=root))
    with collections.use("live") as opened:
        assert opened.name == "prod-1"
    with pytest.raises(CollectionThere):
        collections.create("live", encoder=None, dim=4)
    collections.set_alias("next", "prod-0")
    collections.close()
    said = json.loads((root / FILE).read_bytes())
    assert said["aliases"] == {"live": "prod-1", "next": "prod-0"} and len(said["sha256"]) == 64


def test_no_flipped_bit_opens_a_door(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    _, token = keys.create(file, "web", "read", ["prod-0"])
    gone, revoked = keys.create(file, "old", "admin")
    keys.revoke(file, gone.id)
    good, listed = file.read_bytes(), keys.read(file)
    told = 0
    for bit in range(8 * len(good)):
        file.write_bytes(flipped(good, bit))
        try:
            found = keys.read(file)
        except DataLoss as error:
            told += "keys.json" in str(error)
        else:
            assert found == listed, bit
    assert told > 5 * len(good)
    file.write_bytes(flipped(good, 8 * good.index(b'"read"') + 9))
    with pytest.raises(DataLoss, match=r"keys\.json"):
        keys.KeyRing(file)
    file.write_bytes(good)
    ring = keys.KeyRing(file, interval_s=0)
    assert isinstance(ring.find(f"Bearer {token}"), keys.Key)
    assert ring.find(f"Bearer {revoked}") == keys.Refusal("revoked")
    file.write_bytes(good.replace(b'"revoked": "20', b'"revoked": "30'))
    assert ring.find(f"Bearer {token}") == keys.Refusal("damaged")
    with pytest.raises(PlaitError, match=r"keys\.json"):
        keys.create(file, "new", "read")


def test_keys_without_a_checksum_are_read_and_get_one(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    _, token = keys.create(file, "web", "read")
    said = json.loads(file.read_bytes())
    file.write_text(json.dumps({"format": 1, "keys": said["keys"]}))
    assert isinstance(keys.KeyRing(file).find(f"Bearer {token}"), keys.Key)
    keys.create(file, "next", "read")
    said = json.loads(file.read_bytes())
    assert said["format"] == 2 and len(said["sha256"]) == 64
    with pytest.raises(NotFound):
        keys.revoke(file, "00000000")


def test_damage_to_an_open_collection_is_among_what_a_server_knows(collections: Collections, root: Path) -> None:
    with collections.use("prod-0") as opened:
        opened.retriever.upsert_tokens(["a"], from_matrices([np.ones((2, 4), np.float16)]))
        opened.retriever.collection.seal()
        with opened.retriever.collection.snapshot():
            pass
        (file,) = root.glob("prod-0/segment-*/vectors")
        content = bytearray(file.read_bytes())
        content[0] ^= 1
        file.write_bytes(content)
        with pytest.raises(DataLoss, match="vectors"), opened.retriever.collection.snapshot():
            pass
    assert collections.damage().keys() == {"prod-0"} and "vectors" in collections.damage()["prod-0"]
    with collections.use("prod-1"):
        pass
