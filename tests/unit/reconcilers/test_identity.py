from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from reconcilers.identity import MasterKey
from reconcilers.labels import agent_hostname

if TYPE_CHECKING:
    from pathlib import Path

KEY = b"k" * 32
UID = "7f1c1c7e-0000-4000-8000-000000000001"
OTHER = "7f1c1c7e-0000-4000-8000-000000000002"


def test_the_same_key_gives_the_same_bytes() -> None:
    first, second = MasterKey(KEY), MasterKey(KEY)
    assert first.ca_pem == second.ca_pem
    for field in ("token", "certificate", "private_key", "ca"):
        assert getattr(first.identity(UID), field) == getattr(second.identity(UID), field)


def test_another_key_or_datacenter_gives_others() -> None:
    mine, other, stranger = (
        MasterKey(KEY).identity(UID),
        MasterKey(KEY).identity(OTHER),
        MasterKey(b"x" * 32).identity(UID),
    )
    for field in ("token", "certificate", "private_key"):
        assert len({getattr(i, field) for i in (mine, other, stranger)}) == 3
    assert mine.ca == other.ca != stranger.ca


def test_a_secret_is_not_shown() -> None:
    assert MasterKey(KEY).token(UID) not in repr(MasterKey(KEY).identity(UID))


@pytest.mark.parametrize("size", [0, 31])
def test_a_short_key_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match="at least 32"):
        MasterKey(b"k" * size)


def test_reading_drops_the_newline_an_editor_adds(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(KEY + b"\n")
    assert MasterKey.read(tmp_path / "key").token(UID) == MasterKey(KEY).token(UID)


def test_the_certificate_is_for_a_server_of_one_datacenter() -> None:
    certificate = x509.load_pem_x509_certificate(MasterKey(KEY).identity(UID).certificate.encode())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [agent_hostname(UID)]
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.SERVER_AUTH]
    assert certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False
    assert certificate.serial_number > 0


async def shake(tmp_path: Path, server: MasterKey, client: MasterKey, *, served: str, wanted: str) -> str:
    identity = server.identity(served)
    (tmp_path / "crt").write_text(identity.certificate)
    (tmp_path / "key").write_text(identity.private_key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "crt", tmp_path / "key")

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readexactly(5))
        await writer.drain()
        writer.close()

    listening = await asyncio.start_server(greet, "127.0.0.1", 0, ssl=context)
    async with listening:
        port = listening.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=client.client_context(), server_hostname=agent_hostname(wanted)
        )
        try:
            writer.write(b"hello")
            version = writer.get_extra_info("ssl_object").version()
            assert await reader.readexactly(5) == b"hello"
            return version
        finally:
            writer.close()
            await writer.wait_closed()


async def test_a_handshake(tmp_path: Path) -> None:
    assert await shake(tmp_path, MasterKey(KEY), MasterKey(KEY), served=UID, wanted=UID) == "TLSv1.3"


async def test_another_datacenters_certificate_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        await shake(tmp_path, MasterKey(KEY), MasterKey(KEY), served=OTHER, wanted=UID)


async def test_a_strangers_certificate_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        await shake(tmp_path, MasterKey(b"x" * 32), MasterKey(KEY), served=UID, wanted=UID)


def test_public_authorities_are_not_trusted() -> None:
    authorities = MasterKey(KEY).client_context().get_ca_certs()
    assert len(authorities) == 1
