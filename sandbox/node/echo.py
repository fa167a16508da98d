"""The demo images' program: an HTTP/1.1 server that answers with who it is.

Run as a file, with the fastest part of the standard library alone: a hundred of
them start at once on two cores. Like many servers it ends at once on SIGTERM, open
requests or not: whoever wants no loss needs a preStop hook, as in production.

The one argument is a JSON object: address, ports, delay (seconds until it
listens), serves, failing (answer 500) and identity (strings to tell).
"""

import contextlib
import json
import selectors
import socket
import sys
import time

LISTENING = "listening"
"""The line that tells the node that connections are accepted."""

_BACKLOG = 1024
_CHUNK = 65536

_REQUEST_LIMIT = 1 << 20
"""Bytes of one request that are kept; a client that sends more is cut off."""


class Connection:
    """One client's connection; its requests are answered one after the other."""

    def __init__(self, peer: socket.socket) -> None:
        self.peer = peer
        self._received = b""

    def receive(self, data: bytes) -> list[tuple[str, str, dict[str, str]]]:
        """Take what came in and return the requests (method, path, headers) that are complete."""
        self._received += data
        found = []
        while b"\r\n\r\n" in self._received:
            head, _, rest = self._received.partition(b"\r\n\r\n")
            line, *lines = head.decode("latin-1").split("\r\n")
            pairs = (text.partition(":") for text in lines)
            headers = {name.strip().title(): value.strip() for name, _, value in pairs}
            length = int(headers.get("Content-Length", "0"))
            if len(rest) < length:
                break
            self._received = rest[length:]
            method, path, *_ = [*line.split(" "), "", ""]
            found.append((method, path, headers))
        if len(self._received) > _REQUEST_LIMIT:
            raise ConnectionError("the request is too large")
        return found


def answer(request: tuple[str, str, dict[str, str]], identity: dict[str, str], status: str) -> bytes:
    """Render the response to one request."""
    method, path, headers = request
    body = json.dumps({**identity, "method": method, "path": path, "headers": headers}).encode()
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        f"X-Pod: {identity['pod']}\r\nX-Image: {identity['image']}\r\n\r\n"
    )
    return head.encode() + (b"" if method == "HEAD" else body)


def serve(address: str, ports: list[int], identity: dict[str, str], status: str) -> None:
    """Listen on every port and answer for ever."""
    selector = selectors.DefaultSelector()
    for port in ports:
        listener = socket.create_server((address, port), backlog=_BACKLOG)
        selector.register(listener, selectors.EVENT_READ, None)
    print(LISTENING, flush=True)  # noqa: T201  the node reads it
    while True:
        for key, _ in selector.select():
            if key.data is None:
                peer, _ = key.fileobj.accept()  # type: ignore[union-attr]  # only listeners have no data
                selector.register(peer, selectors.EVENT_READ, Connection(peer))
                continue
            if not _continue(key.data, identity, status):
                selector.unregister(key.fileobj)
                key.data.peer.close()


def _continue(connection: Connection, identity: dict[str, str], status: str) -> bool:
    """Answer what one connection sent; say whether it stays open."""
    with contextlib.suppress(ConnectionError):
        data = connection.peer.recv(_CHUNK)
        for request in connection.receive(data):
            connection.peer.sendall(answer(request, identity, status))
        return bool(data)
    return False


def main() -> None:
    """Serve as the argument says."""
    settings = json.loads(sys.argv[1])
    time.sleep(settings["delay"])
    while not settings["serves"]:
        time.sleep(3600)
    status = "500 Internal Server Error" if settings["failing"] else "200 OK"
    serve(settings["address"], settings["ports"], settings["identity"], status)


if __name__ == "__main__":
    main()
