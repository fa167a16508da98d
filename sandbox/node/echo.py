"""The demo images' program: an HTTP/1.1 server that answers with who it is.

Run as a file, with the fastest part of the standard library alone: a hundred of
them start at once on two cores. Like many servers it ends at once on SIGTERM, open
requests or not; told to drain, it stops listening, closes idle connections and answers
what is open first. Either way whoever wants no loss needs a preStop hook, as in
production: proxies go on sending until they have noticed.

A request for /?seconds=2 is answered after 2 s.

The one argument is a JSON object: address, ports, delay (seconds until it
listens), serves, failing (answer 500), drains and identity (strings to tell).
"""

import contextlib
import heapq
import json
import selectors
import signal
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
        self.open = 0
        """Requests that are not answered yet."""
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


class Server:
    """Listens on every port and answers, until it has drained."""

    def __init__(self, address: str, ports: list[int], identity: dict[str, str], status: str) -> None:
        self._identity = identity
        self._status = status
        self._selector = selectors.DefaultSelector()
        self._late: list[tuple[float, int, Connection, bytes]] = []
        """Answers whose time has not come, the next one first; the number tells equal times apart."""
        self._count = 0
        self._listeners = [socket.create_server((address, port), backlog=_BACKLOG) for port in ports]
        for listener in self._listeners:
            self._selector.register(listener, selectors.EVENT_READ, None)

    def drain_on(self, number: signal.Signals) -> None:
        """Have a signal end it in order."""
        waker, woken = socket.socketpair()
        woken.settimeout(0.0)
        signal.set_wakeup_fd(woken.fileno())
        signal.signal(number, lambda *_: None)
        self._wakers = waker, woken
        self._selector.register(waker, selectors.EVENT_READ, self._drain)

    def serve(self) -> None:
        """Answer until there is nothing left to answer after the signal, or for ever."""
        while self._listeners or self._late:
            for key, _ in self._selector.select(self._patience()):
                if key.fileobj.fileno() < 0:  # type: ignore[union-attr]  # closed since, by draining
                    continue
                if key.data is None:
                    peer, _ = key.fileobj.accept()  # type: ignore[union-attr]  # only listeners have no data
                    self._selector.register(peer, selectors.EVENT_READ, Connection(peer))
                elif isinstance(key.data, Connection):
                    if not self._receive(key.data):
                        self._close(key.data)
                else:
                    key.data()
            self._answer_late()

    def _patience(self) -> float | None:
        return max(0.0, self._late[0][0] - time.monotonic()) if self._late else None

    def _receive(self, connection: Connection) -> bool:
        """Answer what one connection sent, or note when to; say whether it stays open."""
        with contextlib.suppress(ConnectionError):
            data = connection.peer.recv(_CHUNK)
            for request in connection.receive(data):
                response = answer(request, self._identity, self._status)
                if seconds := _asked_delay(request[1]):
                    self._count += 1
                    connection.open += 1
                    due = time.monotonic() + seconds
                    heapq.heappush(self._late, (due, self._count, connection, response))
                else:
                    connection.peer.sendall(response)
            return bool(data)
        return False

    def _answer_late(self) -> None:
        while self._late and self._late[0][0] <= time.monotonic():
            _, _, connection, response = heapq.heappop(self._late)
            connection.open -= 1
            with contextlib.suppress(OSError):
                connection.peer.sendall(response)
            if not self._listeners:
                self._close(connection)

    def _drain(self) -> None:
        self._selector.unregister(self._wakers[0])
        for listener in self._listeners:
            self._selector.unregister(listener)
            listener.close()
        self._listeners = []
        for key in list(self._selector.get_map().values()):
            if isinstance(key.data, Connection) and not key.data.open:
                self._close(key.data)

    def _close(self, connection: Connection) -> None:
        if connection.peer.fileno() >= 0:
            self._selector.unregister(connection.peer)
            connection.peer.close()


def _asked_delay(path: str) -> float:
    name, _, value = path.partition("?")[2].partition("=")
    return float(value) if name == "seconds" and value.replace(".", "", 1).isdigit() else 0.0


def main() -> None:
    """Serve as the argument says."""
    settings = json.loads(sys.argv[1])
    time.sleep(settings["delay"])
    while not settings["serves"]:
        time.sleep(3600)
    status = "500 Internal Server Error" if settings["failing"] else "200 OK"
    server = Server(settings["address"], settings["ports"], settings["identity"], status)
    if settings["drains"]:
        server.drain_on(signal.SIGTERM)
    print(LISTENING, flush=True)  # noqa: T201  the node reads it
    server.serve()


if __name__ == "__main__":
    main()
