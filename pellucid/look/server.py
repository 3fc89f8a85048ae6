"""The server of the page, on the loopback address: the page itself, questions as JSON, numbers as bytes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from pellucid.base.errors import PellucidError, UsageError
from pellucid.explain.page import live
from pellucid.look.desk import Desk

ADDRESS = "127.0.0.1"
LONGEST = 2**20  # bytes of a question

Answer = Callable[[Mapping[str, Any]], dict[str, Any]]


class Server(ThreadingHTTPServer):
    """Serves one model to the browsers of this machine.

    Args:
        desk: answers.
        port: 0: any that is free; :attr:`url` tells which.
        text: what the page shows first.
        more: other questions that are answered, by path.

    Raises:
        UsageError: the port is taken.
    """

    daemon_threads = True

    def __init__(self, desk: Desk, port: int = 0, text: str | None = None, more: Mapping[str, Answer] | None = None) -> None:
        self.desk, self.text = desk, text
        self.answers: dict[str, Answer] = {
            "/api/trace": desk.trace,
            "/api/layers": desk.layers,
            "/api/change": desk.change,
            "/api/table": desk.table,
            "/api/neighbours": desk.neighbours,
            **(more or {}),
        }
        try:
            super().__init__((ADDRESS, port), _Handler)
        except OSError as error:
            advice = "choose another with --port, or none for any that is free"
            raise UsageError(
                "the port cannot be used", where="--port", found=f"{port}: {error.strerror}", advice=advice
            ) from None

    @property
    def url(self) -> str:
        """Where the page is."""
        return f"http://{ADDRESS}:{self.server_port}/"


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        """The page, or numbers."""
        path = urlsplit(self.path)
        if not self._ours():
            return
        if path.path == "/":
            self._send(HTTPStatus.OK, "text/html; charset=utf-8", live(self.server.text).encode())
        elif path.path == "/api/numbers":
            asked = {key: values[0] for key, values in parse_qs(path.query).items()}
            self._answered(lambda: self.server.desk.numbers(*(asked.get(key, "") for key in ("trace", "kind", "name"))))
        else:
            self._refuse(HTTPStatus.NOT_FOUND, f"there is nothing at {path.path}")

    def do_POST(self) -> None:
        """A question."""
        if not self._ours():
            return
        answer = self.server.answers.get(self.path)
        if answer is None:
            self._refuse(HTTPStatus.NOT_FOUND, f"nothing answers at {self.path}")
        elif self.headers.get_content_type() != "application/json":  # which no form of another site can send
            self._refuse(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "a question is JSON")
        else:
            self._answered(lambda: json.dumps(answer(self._question()), ensure_ascii=False).encode())

    def _ours(self) -> bool:
        """Whether the request names this server: a name of another site that leads here is refused."""
        port = self.server.server_port
        if self.headers.get("Host") in (f"{ADDRESS}:{port}", f"localhost:{port}"):
            return True
        self._refuse(HTTPStatus.FORBIDDEN, f"this server answers to {self.server.url} alone")
        return False

    def _question(self) -> dict[str, Any]:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > LONGEST:
            raise UsageError("a question has a length", expected=f"at most {LONGEST:,} bytes", found=length)
        try:
            found = json.loads(self.rfile.read(int(length)))
        except (ValueError, RecursionError) as error:
            raise UsageError("a question is JSON", found=error) from None
        if not isinstance(found, dict):
            raise UsageError("a question is an object", expected='{"text": "..."}', found=type(found).__name__)
        return found

    def _answered(self, answer: Callable[[], bytes]) -> None:
        try:
            found = answer()
        except PellucidError as error:
            self._refuse(HTTPStatus.BAD_REQUEST, str(error))
        except Exception as error:  # the page says what happened, and the server goes on
            self._refuse(HTTPStatus.INTERNAL_SERVER_ERROR, f"{type(error).__name__}: {error}")
            raise
        else:
            kind = "application/json" if self.command == "POST" else "application/octet-stream"
            self._send(HTTPStatus.OK, kind, found)

    def _refuse(self, status: HTTPStatus, what: str) -> None:
        self._send(status, "application/json", json.dumps({"error": what}).encode())

    def _send(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        with suppress(ConnectionError):  # the page has gone on to something else
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the terminal is the user's."""
