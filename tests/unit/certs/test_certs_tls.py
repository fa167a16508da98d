"""Live reload, on real TLS over loopback."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from cryptography import x509

from certs.bundle import KeyPair, key_pem, pem
from certs.issue import new_authority, new_serving
from certs.tls import present, server_context
from runtime.clock import SystemClock
from runtime.server import Server

NAMES = frozenset({"127.0.0.1"})
BODY = "served"
OK = "HTTP/1.1 200 OK"
PATIENCE = 30  # seconds until a test that hangs fails


class Site:
    """A server under a certificate that can be renewed."""

    def __init__(self) -> None:
        self.authority = new_authority(SystemClock().now())
        self.context = server_context()
        app = web.Application()
        app.router.add_get("/", self._answer)
        self.server = Server(app, "127.0.0.1", 0, self.context)

    def renew(self, authority: KeyPair | None = None) -> int:
        """Present a new certificate; return its serial number."""
        serving = new_serving(authority or self.authority, NAMES, SystemClock().now())
        present(self.context, serving)
        return serving.certificate.serial_number

    async def _answer(self, _request: web.Request) -> web.Response:
        return web.Response(text=BODY)


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    """Return a listening server without a certificate yet."""
    site = Site()
    await site.server.start()
    yield site
    await site.server.stop()


class Visitor:
    """One connection of a client that trusts one authority, verifies strictly and asks again and again."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.tls: ssl.SSLObject = writer.get_extra_info("ssl_object")

    @property
    def serial(self) -> int:
        """The serial number of the certificate this connection was made under."""
        certificate = self.tls.getpeercert(binary_form=True)
        assert certificate is not None
        return x509.load_der_x509_certificate(certificate).serial_number

    async def ask(self) -> str:
        """Do one request; return the status line."""
        self._writer.write(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        head = (await asyncio.wait_for(self._reader.readuntil(b"\r\n\r\n"), PATIENCE)).decode()
        await self._reader.readexactly(len(BODY))
        return head.splitlines()[0]

    async def leave(self) -> None:
        """Close the connection."""
        self._writer.close()
        await self._writer.wait_closed()


def trusting(authority: KeyPair) -> ssl.SSLContext:
    """Return a client's context that trusts this authority alone."""
    context = ssl.create_default_context(cadata=pem(authority.certificate).decode())
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    context.set_alpn_protocols(["h2", "http/1.1"])
    return context


@contextlib.asynccontextmanager
async def visit(site: Site, context: ssl.SSLContext) -> AsyncIterator[Visitor]:
    """Open a connection."""
    connecting = asyncio.open_connection("127.0.0.1", site.server.port, ssl=context)
    visitor = Visitor(*await asyncio.wait_for(connecting, PATIENCE))
    yield visitor
    await visitor.leave()


async def test_open_connection_survives_a_renewal_and_new_ones_see_it(site: Site) -> None:
    """The listener and its connections live on; only new handshakes meet the new certificate."""
    first = site.renew()
    async with visit(site, trusting(site.authority)) as before:
        assert await before.ask() == OK
        second = site.renew()

        assert (await before.ask(), before.serial) == (OK, first)
        async with visit(site, trusting(site.authority)) as after:
            assert (await after.ask(), after.serial) == (OK, second)
        assert await before.ask() == OK


async def test_new_authority_is_presented_to_who_trusts_it(site: Site) -> None:
    """After a rotation, a client with the new bundle connects and one with the old bundle does not."""
    site.renew()
    other = new_authority(SystemClock().now())
    serial = site.renew(other)

    async with visit(site, trusting(other)) as visitor:
        assert visitor.serial == serial
    with pytest.raises(ssl.SSLCertVerificationError):
        async with visit(site, trusting(site.authority)):
            pass


async def test_handshake_before_the_first_certificate_fails_and_later_ones_succeed(site: Site) -> None:
    """A listener may be opened before there is a certificate."""
    with pytest.raises((ssl.SSLError, ConnectionError)):
        async with visit(site, trusting(site.authority)):
            pass

    site.renew()
    async with visit(site, trusting(site.authority)) as visitor:
        assert await visitor.ask() == OK


@pytest.mark.parametrize(
    ("version", "spoken"),
    [(ssl.TLSVersion.TLSv1_2, "TLSv1.2"), (ssl.TLSVersion.TLSv1_3, "TLSv1.3")],
)
async def test_tls_1_2_and_1_3_are_spoken(site: Site, version: ssl.TLSVersion, spoken: str) -> None:
    """Both versions that API servers use are served, with HTTP/1.1 chosen from what is offered."""
    site.renew()
    context = trusting(site.authority)
    context.maximum_version = context.minimum_version = version

    async with visit(site, context) as visitor:
        assert await visitor.ask() == OK
        assert visitor.tls.version() == spoken
        assert visitor.tls.selected_alpn_protocol() == "http/1.1"


def test_older_versions_and_weak_suites_are_off() -> None:
    """No TLS below 1.2, no key exchange without forward secrecy, no tickets."""
    context = server_context()

    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.options & ssl.OP_NO_TICKET
    suites = {suite["name"] for suite in context.get_ciphers() if not suite["name"].startswith("TLS_")}
    assert suites
    assert all(name.startswith("ECDHE-") and ("GCM" in name or "CHACHA20" in name) for name in suites)


def test_key_is_on_no_disk_and_leaves_no_open_file() -> None:
    """Presenting a certificate leaves neither a file nor a descriptor behind."""
    descriptors = Path("/proc/self/fd")
    authority = new_authority(SystemClock().now())
    before = sorted(path.name for path in descriptors.iterdir())

    present(server_context(), new_serving(authority, NAMES, SystemClock().now()))

    assert sorted(path.name for path in descriptors.iterdir()) == before


def test_key_that_does_not_fit_is_refused() -> None:
    """A pair that does not belong together never gets into a context."""
    authority = new_authority(SystemClock().now())
    one, other = (new_serving(authority, NAMES, SystemClock().now()) for _ in range(2))

    with pytest.raises(ssl.SSLError):
        present(server_context(), KeyPair(one.certificate, other.key))
    assert key_pem(one.key) != key_pem(other.key)
