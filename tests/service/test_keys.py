"""API keys: made, shown once, found by their token, refused when they expired or were
revoked, read again when they change."""

import json
import logging
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from typer.testing import CliRunner

pytest.importorskip("pydantic", reason="the extra `service` is not installed")
from plait.index.errors import AlreadyExists, DataLoss, InvalidArgument, NotFound
from plait.service import keys
from plait.service.cli.main import app
from plait.service.keys import Key, KeyRing, Refusal, create, read, revoke

NOW = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


def test_a_token_finds_its_key_and_is_kept_nowhere(file: Path) -> None:
    made = [create(file, name, "read")[1] for name in "ab"]
    ring = KeyRing(file)
    for name, token in zip("ab", made, strict=True):
        found = ring.find(f"Bearer {token}")
        assert isinstance(found, Key) and found.name == name
        assert token.split("_", 2)[2] not in file.read_text()
    assert file.stat().st_mode & 0o077 == 0
    assert len({*made}) == 2


def test_the_id_of_one_key_with_the_secret_of_another_is_unknown(file: Path) -> None:
    (_, one), (_, other) = create(file, "a", "read"), create(file, "b", "admin")
    mixed = other[: len("plait_12345678_")] + one[len("plait_12345678_") :]
    assert KeyRing(file).find(f"Bearer {mixed}") == Refusal("unknown")


def test_scopes_include_the_lesser_ones(file: Path) -> None:
    made = [create(file, scope, scope)[0] for scope in keys.SCOPES]
    covered = [[s for s in keys.SCOPES if key.covers(s)] for key in made]
    assert covered == [["read"], ["read", "write"], ["read", "write", "admin"]]


def test_a_key_counts_for_its_collections(file: Path) -> None:
    key, _ = create(file, "some", "read", ["a", "b"])
    assert [key.reaches(c) for c in ("a", "b", "ab", "")] == [True, True, False, False]
    assert create(file, "all", "read")[0].reaches("anything")


def test_a_key_expires_at_its_time(file: Path) -> None:
    _, token = create(file, "a", "read", expires=NOW)
    for late, expected in ((-1, "a"), (0, Refusal("expired")), (1, Refusal("expired"))):
        found = KeyRing(file, now=lambda late=late: NOW + timedelta(seconds=late)).find(f"bearer {token}")
        assert (found.name if isinstance(found, Key) else found) == expected


def test_a_running_ring_sees_what_changes(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    _, first = create(file, "a", "read")
    ring = KeyRing(file, interval_s=0)
    key, token = create(file, "b", "read")
    with caplog.at_level(logging.INFO, "plait.audit"):
        logging.getLogger("plait.audit").propagate = True
        assert isinstance(ring.find(f"Bearer {token}"), Key)
        revoke(file, key.id)
        assert ring.find(f"Bearer {token}") == Refusal("revoked")
        assert ring.find("Bearer " + token[:-1] + ("a" if token[-1] != "a" else "b")) == Refusal("unknown")
        good = file.read_text()
        file.write_text("{half a fi")
        assert ring.find(f"Bearer {first}") == Refusal("damaged"), "it may hold a revocation"
        file.unlink()
        assert ring.find(f"Bearer {first}") == Refusal("unknown"), "no file, no keys"
        file.write_text(good)
        assert isinstance(ring.find(f"Bearer {first}"), Key)
    fields = [record.fields for record in caplog.records]  # type: ignore[attr-defined]
    assert fields[0]["created"] == [key.id] and fields[1]["revoked"] == [key.id] and "error" in fields[2]
    assert len(fields[3]["removed"]) == 2
    assert token.split("_", 2)[2] not in caplog.text


def test_the_file_is_looked_at_once_in_an_interval(file: Path) -> None:
    create(file, "a", "read")
    ring = KeyRing(file, interval_s=3600)
    _, token = create(file, "b", "read")
    assert ring.find(f"Bearer {token}") == Refusal("unknown")


def test_what_cannot_be_made(file: Path) -> None:
    key, _ = create(file, "a", "read")
    with pytest.raises(AlreadyExists, match="'a'"):
        create(file, "a", "read")
    revoke(file, key.id)
    create(file, "a", "read")  # its name is free again
    for name in ("", "a b", "../x", "x" * 65):
        with pytest.raises(InvalidArgument, match="letters"):
            create(file, name, "read")
    with pytest.raises(InvalidArgument, match="past"):
        create(file, "late", "read", expires=datetime.now(UTC) - timedelta(seconds=1))
    with pytest.raises(InvalidArgument, match="root"):
        create(file, "root", "root")  # type: ignore[arg-type]
    with pytest.raises(NotFound, match="ffff"):
        revoke(file, "ffff")
    with pytest.raises(NotFound, match="plait keys create"):
        KeyRing(file.with_name("none.json"))


@pytest.mark.parametrize(
    "text", ["", "[]", '{"format": 3}', '{"keys": [{"id": 1}]}', "\x00", '{"keys": [], "more": 1}']
)
def test_what_is_no_key_file(file: Path, text: str) -> None:
    file.write_text(text)
    with pytest.raises(DataLoss, match="no key file"):
        read(file)
    with pytest.raises(DataLoss):
        create(file, "a", "read")
    assert file.read_text() == text


def test_writers_do_not_lose_each_others_keys(file: Path) -> None:
    def make(writer: int) -> None:
        for i in range(5):
            create(file, f"{writer}-{i}", "read")

    threads = [threading.Thread(target=make, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {key.name for key in read(file)} == {f"{n}-{i}" for n in range(4) for i in range(5)}


@pytest.fixture(scope="module")
def ring(tmp_path_factory: pytest.TempPathFactory) -> KeyRing:
    file = tmp_path_factory.mktemp("keys") / "keys.json"
    create(file, "a", "admin")
    return KeyRing(file)


def token_like() -> st.SearchStrategy[str]:
    part = st.text("0123456789abcdef", min_size=7, max_size=9)
    return st.builds(
        "{} plait_{}_{}".format, st.sampled_from(["Bearer", "bearer", "BEARER"]), part, st.text(max_size=60)
    )


@given(header=st.text() | token_like() | st.binary().map(lambda b: b.decode("latin-1")))
@example(header="Bearer ")
@example(header="Bearer plait_00000000_" + "A" * 43)
@example(header="Bearer plait_00000000_" + "A" * 42 + "\n")
def test_no_other_header_is_ever_let_in(ring: KeyRing, header: str) -> None:
    found = ring.find(header)
    assert isinstance(found, Refusal) and found.reason in ("malformed", "unknown")


def test_expiring_and_revoking_by_command(file: Path) -> None:
    def plait(*arguments: object) -> str:
        done = CliRunner().invoke(app, ["keys", *map(str, arguments)], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.stdout

    made = json.loads(plait("create", file, "--name", "ci", "--scope", "write", "--expires", "30d", "--json"))
    found = KeyRing(file).find(f"Bearer {made['key']}")
    assert isinstance(found, Key) and found.scope == "write" and found.expires is not None
    assert timedelta(days=29) < found.expires - datetime.now(UTC) <= timedelta(days=30)
    assert "sha256" not in made
    token = plait("create", file, "--name", "notes", "--collection", "a", "--collection", "b").strip()
    found = KeyRing(file).find(f"Bearer {token}")
    assert isinstance(found, Key) and found.collections == ("a", "b") and found.scope == "read"
    assert plait("revoke", file, made["id"]).startswith(made["id"])
    listed = json.loads(plait("list", file, "--json"))["keys"]
    assert [(k["name"], k["state"]) for k in listed] == [("ci", "revoked"), ("notes", "valid")]
    assert not any("key" in k or "sha256" in k for k in listed)
    shown = plait("list", file)
    assert "a, b" in shown and "never" in shown
    with pytest.raises(InvalidArgument, match="'soon' is no time"):
        plait("create", file, "--name", "x", "--expires", "soon")
