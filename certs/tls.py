"""A server's TLS context whose certificate can be changed while connections are open.

A handshake uses what the context holds at that moment; connections made earlier keep what they agreed
on. The private key never lies on a disk: OpenSSL insists on reading files, so it gets one that exists in
memory only, is reachable by this process alone and is gone as soon as it was read. That also works with
a read-only root file system and without any volume.
"""

import errno
import os
import ssl

from certs.bundle import KeyPair, key_pem, pem

# From Linux 6.3, where a hardened kernel (vm.memfd_noexec=2) demands it; Python 3.11 has no name for it.
_MFD_NOEXEC_SEAL = 0x8

# Forward secrecy and authenticated encryption only. Applies to TLS 1.2; all of TLS 1.3's suites are such.
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"


def server_context() -> ssl.SSLContext:
    """Return a context for servers, TLS 1.2 or newer. Until ``present`` is called, handshakes fail."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    # The API server offers HTTP/2 first; aiohttp's server speaks 1.1 only and must say so.
    context.set_alpn_protocols(["http/1.1"])
    # A resumed session would go on under a certificate that has been replaced, and keeps a secret for it.
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_COMPRESSION
    context.num_tickets = 0
    return context


def present(context: ssl.SSLContext, serving: KeyPair) -> None:
    """Present this certificate from the next handshake on."""
    descriptor = _memory_file()
    with os.fdopen(descriptor, "wb") as file:
        file.write(pem(serving.certificate) + key_pem(serving.key))
        file.flush()
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")


def _memory_file() -> int:
    name = "sluice-serving-certificate"
    try:
        return os.memfd_create(name, os.MFD_CLOEXEC | _MFD_NOEXEC_SEAL)
    except OSError as error:
        if error.errno != errno.EINVAL:  # an older kernel does not know the flag
            raise
        return os.memfd_create(name, os.MFD_CLOEXEC)
