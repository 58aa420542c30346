"""TLS over a real socket: the right authority, the wrong one, none; client certificates; renewal; the open door."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("grpc", reason="the extra `service` is not installed")
pytest.importorskip("trustme", reason="a development dependency")
import grpc
import trustme
from echo_service import call, serving
from plait.index.errors import FailedPrecondition, InvalidArgument
from plait.service.concerns.tls import credentials, is_loopback, refuse_open_door, split_address
from plait.service.settings import Settings, Tls


@pytest.fixture(scope="module")
def authorities() -> tuple[trustme.CA, trustme.CA]:
    return trustme.CA(), trustme.CA()


def write(folder: Path, certificate: trustme.LeafCert, stem: str = "server") -> tuple[Path, Path]:
    cert, key = folder / f"{stem}.pem", folder / f"{stem}.key"
    cert.write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
    key.write_bytes(certificate.private_key_pem.bytes())
    return cert, key


def asked(port: int, ca: trustme.CA, client: trustme.LeafCert | None = None) -> list[str]:
    trusted = grpc.ssl_channel_credentials(
        ca.cert_pem.bytes(),
        client.private_key_pem.bytes() if client else None,
        client.cert_chain_pems[0].bytes() if client else None,
    )
    with grpc.secure_channel(f"localhost:{port}", trusted) as channel:
        return call(channel, "unary_unary", ["x"])


def refused(port: int, ca: trustme.CA, client: trustme.LeafCert | None = None) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        asked(port, ca, client)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE  # type: ignore[attr-defined]


@pytest.fixture
def served(authorities: tuple[trustme.CA, trustme.CA], tmp_path: Path) -> Iterator[tuple[int, Path]]:
    cert, key = write(tmp_path, authorities[0].issue_cert("localhost"))
    with serving([], credentials=credentials(Tls(cert=cert, key=key))) as port:
        yield port, tmp_path


def test_only_the_right_authority_and_never_plain_text(
    served: tuple[int, Path], authorities: tuple[trustme.CA, trustme.CA]
) -> None:
    port, _ = served
    assert asked(port, authorities[0]) == ["X"]
    refused(port, authorities[1])
    with grpc.insecure_channel(f"localhost:{port}") as channel, pytest.raises(grpc.RpcError):
        call(channel, "unary_unary", ["x"])


def test_a_renewed_certificate_needs_no_restart(
    served: tuple[int, Path], authorities: tuple[trustme.CA, trustme.CA]
) -> None:
    port, folder = served
    old, new = authorities
    renewed = new.issue_cert("localhost")
    half = folder / "server.pem"
    half.write_bytes(renewed.cert_chain_pems[0].bytes())
    assert asked(port, old) == ["X"], "a certificate without its key is not taken"
    refused(port, new)
    write(folder, renewed)
    assert asked(port, new) == ["X"]
    refused(port, old)
    (folder / "server.pem").unlink()
    assert asked(port, new) == ["X"], "what cannot be read changes nothing"


def test_clients_must_show_a_certificate(authorities: tuple[trustme.CA, trustme.CA], tmp_path: Path) -> None:
    ours, others = authorities
    cert, key = write(tmp_path, ours.issue_cert("localhost"))
    client_ca = tmp_path / "ca.pem"
    client_ca.write_bytes(ours.cert_pem.bytes())
    tls = Tls(cert=cert, key=key, client_ca=client_ca)
    with serving([], credentials=credentials(tls)) as port:
        assert asked(port, ours, ours.issue_cert("me@example.org")) == ["X"]
        refused(port, ours)
        refused(port, ours, others.issue_cert("me@example.org"))
        client_ca.write_bytes(others.cert_pem.bytes())
        assert asked(port, ours, others.issue_cert("me@example.org")) == ["X"]
        refused(port, ours, ours.issue_cert("me@example.org"))


def test_files_that_cannot_be_used(authorities: tuple[trustme.CA, trustme.CA], tmp_path: Path) -> None:
    cert, key = write(tmp_path, authorities[0].issue_cert("localhost"))
    other, _ = write(tmp_path, authorities[0].issue_cert("localhost"), "other")
    with pytest.raises(FailedPrecondition, match=r"other\.pem.*belong together"):
        credentials(Tls(cert=other, key=key))
    with pytest.raises(FailedPrecondition, match=r"none\.pem"):
        credentials(Tls(cert=tmp_path / "none.pem", key=key))
    key.write_text("no key")
    with pytest.raises(FailedPrecondition):
        credentials(Tls(cert=cert, key=key))
    assert credentials(Tls()) is None


@pytest.mark.parametrize(
    ("address", "parts"),
    [("127.0.0.1:0", ("127.0.0.1", 0)), ("[::1]:65535", ("::1", 65535)), ("localhost:50051", ("localhost", 50051))],
)
def test_addresses(address: str, parts: tuple[str, int]) -> None:
    assert split_address(address) == parts


@pytest.mark.parametrize("address", ["", "localhost", ":1", "h:", "h:-1", "h:65536", "h:x", "h:١"])
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(InvalidArgument, match="HOST:PORT"):
        split_address(address)


def test_loopback() -> None:
    for host in ("127.0.0.1", "127.3.2.1", "::1", "localhost"):
        assert is_loopback(host)
    for host in ("0.0.0.0", "::", "10.0.0.1", "example.org", "localhost.example.org", "127.0.0.1.example.org", "*"):
        assert not is_loopback(host)


@pytest.mark.parametrize("listen", ["0.0.0.0:1", "[::]:1", "10.1.2.3:1", "example.org:1"])
def test_a_public_address_needs_tls_and_keys(listen: str) -> None:
    tls, keys = Tls(cert=Path("a"), key=Path("b")), Path("k")
    for incomplete, missing in (
        (Settings(listen=listen), "no TLS .* and no API keys"),
        (Settings(listen=listen, tls=tls), "no API keys"),
        (Settings(listen=listen, keys=keys), r"no TLS \(tls\.cert"),
    ):
        with pytest.raises(FailedPrecondition, match=f"{missing}.*--insecure"):
            refuse_open_door(incomplete)
    refuse_open_door(Settings(listen=listen, tls=tls, keys=keys))
    refuse_open_door(Settings(listen=listen, insecure=True))
    refuse_open_door(Settings(listen="127.0.0.1:1"))
