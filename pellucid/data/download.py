"""Downloads that go on where they stopped."""

from __future__ import annotations

import http.client
import os
import ssl
import urllib.error
import urllib.request
from pathlib import Path

from pellucid.base.errors import DataError
from pellucid.base.progress import Progress

_TIMEOUT = 30.0  # seconds without an answer
_ATTEMPTS = 5  # in a row that bring nothing new
_CHUNK = 1 << 16


def download(address: str, part: Path, *, size: int, advice: str) -> None:
    """Brings a file, going on with what ``part`` holds already. The content is not checked here.

    A server that stops half-way is asked again for the rest; one that cannot continue sends the whole anew.

    Args:
        address: of the file, http or https.
        part: where to write; kept when the download fails, to go on from.
        size: expected bytes, for the progress shown.
        advice: what to do when there is no way, for the message.

    Raises:
        DataError: no network, no such address, or the server keeps breaking off.
        OSError: ``part`` cannot be written.
    """
    begin = part.stat().st_size if part.exists() else 0
    with Progress(size, "bytes", part.name, start=begin) as progress:
        attempts = 0
        while attempts < _ATTEMPTS:
            before = part.stat().st_size if part.exists() else 0
            try:
                if _receive(address, part, before, progress):
                    return
                problem = "the connection ends too early"
            except urllib.error.HTTPError as error:
                if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                    return  # nothing after what is there: it was whole already, which its checksum will tell
                raise _unreachable(address, f"the server answers {error.code} {error.reason}", advice) from None
            except urllib.error.URLError as error:
                raise _unreachable(address, f"no connection: {error.reason}", advice) from None
            except (ConnectionError, TimeoutError, ssl.SSLError, http.client.HTTPException) as error:
                problem = f"the connection broke: {error}"
            attempts = 0 if part.exists() and part.stat().st_size > before else attempts + 1
    raise _unreachable(address, problem, f"run the command again: it goes on where it stopped. Or {advice}")


def _receive(address: str, part: Path, begin: int, progress: Progress) -> bool:
    """Writes what the server sends from byte ``begin`` on; whether it sent all that it announced."""
    request = urllib.request.Request(address, headers={"Range": f"bytes={begin}-"} if begin else {})
    with urllib.request.urlopen(request, timeout=_TIMEOUT) as response:
        resumed = response.status == http.HTTPStatus.PARTIAL_CONTENT
        announced = response.headers.get("Content-Length")
        received = 0
        with part.open("ab" if resumed else "wb") as file:
            while chunk := response.read(_CHUNK):
                file.write(chunk)
                received += len(chunk)
                progress.update(len(chunk))
            file.flush()
            os.fsync(file.fileno())
    return announced is None or received == int(announced)


def _unreachable(address: str, found: str, advice: str) -> DataError:
    return DataError("cannot be downloaded", where=address, found=found, advice=advice)
