"""Settings: which source wins, and what is refused."""

import os
import tomllib
from pathlib import Path

import pytest

pytest.importorskip("pydantic_settings", reason="the extra `service` is not installed")
from plait.index.errors import InvalidArgument, NotFound
from plait.retrieval import retriever
from plait.service.configuration import load, shown
from plait.service.hosting.collections import Collections
from plait.service.limits import Limits, PerKey
from plait.service.settings import Admin, Settings, Tls, Tracing


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [n for n in os.environ if n.startswith("PLAIT_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "plait.toml"
    path.write_text('listen = "127.0.0.1:1"\nqueue = 5\n[limits]\nk = 11\ndim = 12\nnprobe = 13\n')
    return path


def test_flags_win_over_the_environment_and_that_over_the_file(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLAIT_LIMITS__DIM", "22")
    monkeypatch.setenv("PLAIT_LIMITS__NPROBE", "23")
    monkeypatch.setenv("PLAIT_QUEUE", "6")
    settings, origins = load(config, {"limits.nprobe": "33", "listen": "127.0.0.1:3"})
    assert (settings.listen, settings.queue) == ("127.0.0.1:3", 6)
    assert (settings.limits.k, settings.limits.dim, settings.limits.nprobe) == (11, 22, 33)
    assert settings.limits.depth == Limits().depth
    named = {"limits.k": str(config), "limits.dim": "environment", "limits.nprobe": "flag", "limits.depth": "default"}
    assert {name: origins[name] for name in named} == named
    assert (origins["listen"], origins["queue"]) == ("flag", "environment")


def test_a_section_may_be_one_variable(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLAIT_LIMITS", '{"dim": 22}')
    settings, origins = load(config)
    assert (settings.limits.k, settings.limits.dim, origins["limits.dim"]) == (11, 22, "environment")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"limits.k": "0"}, r"limits\.k is '0' \(flag\): .*greater than or equal to 1"),
        ({"limits.k": "many"}, r"limits\.k is 'many'"),
        ({"limits.topk": "3"}, r"no setting limits\.topk \(flag\); there are limits\.message_bytes"),
        ({"lissten": "x"}, r"no setting lissten \(flag\); did you mean listen\?"),
        ({"deadline_s": "nan"}, "deadline_s"),
        ({"tls.cert": "only.pem"}, "belong together"),
        ({"tls.client_ca": "ca.pem"}, "belong together"),
        ({"log": "chatty"}, "log is 'chatty'"),
        ({"device_memory": "-1"}, r"device_memory is '-1' \(flag\): .*greater than or equal to 0"),
    ],
)
def test_a_bad_flag_is_named(flags: dict[str, str], said: str) -> None:
    with pytest.raises(InvalidArgument, match=said):
        load(None, flags)


def test_a_bad_variable_and_a_bad_key_say_where_they_stand(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLAIT_LIMITS__KK", "3")
    with pytest.raises(InvalidArgument, match=r"no setting limits\.kk \(environment\)"):
        load(config)
    monkeypatch.setenv("PLAIT_LIMITS", "{")
    with pytest.raises(InvalidArgument, match="PLAIT_ variable"):
        load(config)
    monkeypatch.delenv("PLAIT_LIMITS")
    monkeypatch.delenv("PLAIT_LIMITS__KK")
    config.write_text("[limits]\nk = -1\n")
    with pytest.raises(InvalidArgument, match=rf"limits\.k is -1 \({config}\)"):
        load(config)
    config.write_text("[limits\n")
    with pytest.raises(InvalidArgument, match="is not TOML"):
        load(config)
    with pytest.raises(NotFound, match=r"other\.toml"):
        load(config.with_name("other.toml"))


def test_what_is_printed_can_be_read_back_and_tells_no_secret(tmp_path: Path) -> None:
    flags = {"limits.k": 7, "listen": "[::1]:5", "tracing.headers": {"x-key": "hush"}, "keys": tmp_path / 'a "b".json'}
    settings, origins = load(None, flags)
    text = shown(settings, origins)
    assert "hush" not in text and "hush" not in repr(settings)
    printed = tmp_path / "printed.toml"
    printed.write_text(text)
    again, _ = load(printed)
    masked = settings.model_dump(mode="json")
    assert again.model_dump(mode="json") == masked and masked["tracing"]["headers"] == {"x-key": "**********"}
    assert "k = 7  # flag" in text and tomllib.loads(text)["listen"] == "[::1]:5"


def test_secrets_are_not_in_errors() -> None:
    with pytest.raises(InvalidArgument) as caught:
        load(None, {"tracing.headers": {"x-key": ["hush"]}})
    assert "tracing.headers.x-key" in str(caught.value) and "hush" not in str(caught.value)


@pytest.mark.parametrize("record", [Limits, PerKey, Tls, Admin, Tracing, Settings])
def test_every_setting_is_explained_and_every_number_bounded(record: type) -> None:
    for name, field in record.model_fields.items():  # type: ignore[attr-defined]
        assert isinstance(field.default, Limits | PerKey | Tls | Admin | Tracing) or field.description, name
        if field.annotation in (int, float):
            bounds = {type(m).__name__ for m in field.metadata}
            assert bounds & {"Ge", "Gt"} and "Le" in bounds, f"{name} needs bounds"


@pytest.mark.parametrize("name", list(Limits.model_fields))
def test_limits_hold_at_their_bounds(name: str) -> None:
    bounds = {type(m).__name__: getattr(m, type(m).__name__.lower()) for m in Limits.model_fields[name].metadata}
    for value in (bounds["Ge"], bounds["Le"]):
        assert getattr(load(None, {f"limits.{name}": value})[0].limits, name) == value
    for value in (bounds["Ge"] - 1, bounds["Le"] + 1):
        with pytest.raises(InvalidArgument, match=f"limits.{name} is {value}"):
            load(None, {f"limits.{name}": value})


def test_a_collection_is_told_what_it_may_take_of_the_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = []
    monkeypatch.setattr(retriever, "placement", lambda *given: told.append(given))
    settings, origins = load(None, {"root": tmp_path, "device_memory": 5})
    collections = Collections(settings)
    collections.create("some", dim=4)
    collections.close()
    assert (set(told), origins["device_memory"]) == ({("cpu", 5)}, "flag")


def test_what_clients_must_know_of_the_settings_is_told() -> None:
    """Without it a client would learn how long it may pause, or what it may name, from a refusal."""
    pytest.importorskip("grpc", reason="the extra `service` is not installed")
    from plait.service.methods.system import SystemMethods
    from plait.service.wire.system_pb2 import GetServerInfoRequest

    settings = load(None, {"encoders": ("some/checkpoint",), "stream_idle_s": "7", "deadline_s": "3"})[0]
    told = SystemMethods(settings).get_server_info(GetServerInfoRequest(), None)  # type: ignore[arg-type]
    assert list(told.encoders) == ["minilm", "some/checkpoint"] and (told.stream_idle_s, told.deadline_s) == (7, 3)
