"""Public sets: copied or downloaded, interrupted, resumed, checked; and what is said when it cannot be done."""

from __future__ import annotations

import gzip
import hashlib
import os
import random
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pellucid.base.config import DataConfig
from pellucid.base.errors import DataError, StorageError, UsageError
from pellucid.data import public_sets
from pellucid.data.public_sets import PUBLIC_SETS, PublicFile, PublicFolder, PublicSet, data_home, fetch, locate
from pellucid.data.readers import open_split, open_text, splits_of

TEXTS = {
    # Numbers drawn from a seed do not compress away: each file takes several packets.
    "train.en": "".join(f"{random.Random(1).random()} {i} {random.Random(i).random()}\n" for i in range(6000)),
    "train.fr": "".join(f"{i}\n" for i in range(6000)),
    "val.en": "one\n",
    "val.fr": "un\n",
}
FILES = {f"{name}.gz": gzip.compress(text.encode(), mtime=0) for name, text in TEXTS.items()}


@dataclass
class Behaviour:
    """What the server does, and what it was asked."""

    ranges: bool = True
    cut_after: int | None = None  # bytes of a body, after which the connection is closed
    status: int = 200
    replaced: dict[str, bytes] = field(default_factory=dict)
    asked: list[tuple[str, str | None]] = field(default_factory=list)


class Handler(BaseHTTPRequestHandler):
    behaviour: Behaviour

    def do_GET(self) -> None:
        name, wanted = self.path.rpartition("/")[2], self.headers.get("Range")
        behaviour = self.behaviour
        behaviour.asked.append((name, wanted))
        if behaviour.status != 200:
            self.send_error(behaviour.status)
            return
        body, begin = behaviour.replaced.get(name, FILES[name]), 0
        if wanted and behaviour.ranges:
            begin = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if begin >= len(body):
                self.send_error(416)
                return
        self.send_response(206 if begin else 200)
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{len(body) - 1}/{len(body)}")
        self.send_header("Content-Length", str(len(body) - begin))
        self.end_headers()
        self.wfile.write(body[begin:][: behaviour.cut_after])

    def log_message(self, format: str, *args: object) -> None:
        """Keeps stderr for what is tested."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Behaviour]:
    """A server of the test set on this machine."""
    monkeypatch.setenv("no_proxy", "*")
    behaviour = Behaviour()
    handler = type("Bound", (Handler,), {"behaviour": behaviour})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        register(monkeypatch, f"http://127.0.0.1:{http.server_port}/raw")
        yield behaviour
        http.shutdown()
        thread.join()


def register(monkeypatch: pytest.MonkeyPatch, address: str | None) -> None:
    """The test set under the name ``tiny``."""
    files = tuple(
        PublicFile(f"{name}.gz", hashlib.sha256(text.encode()).hexdigest(), len(FILES[f"{name}.gz"]))
        for name, text in TEXTS.items()
    )
    splits = {"train": "train", "dev": "val"}
    tiny = PublicSet("tiny", "numbers", "none", ("en", "fr"), splits, files, address)
    monkeypatch.setitem(PUBLIC_SETS, "tiny", tiny)


def check(folder: Path) -> None:
    """Everything is there, and nothing else."""
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == FILES


# --- downloads -------------------------------------------------------------------------------------------------------


def test_download_and_do_nothing_the_second_time(server: Behaviour, tmp_path: Path) -> None:
    folder = fetch("tiny", tmp_path)
    assert folder == tmp_path / "tiny"
    check(folder)
    assert server.asked == [(name, None) for name in FILES]
    fetch("tiny", tmp_path)
    assert len(server.asked) == len(FILES)


def test_what_was_fetched_can_be_read(server: Behaviour, tmp_path: Path) -> None:
    fetch("tiny", tmp_path)
    config = DataConfig(corpus="tiny", source="fr", target="en")
    assert list(open_split(config, "dev", home=tmp_path)) == [("un", "one")]
    assert list(open_split(replace(config, source="en", target="fr"), "dev", home=tmp_path)) == [("one", "un")]
    assert open_split(config, "train", home=tmp_path).total == 6000
    assert splits_of(config) == ("train", "dev")


def test_a_server_that_breaks_off_is_asked_for_the_rest(server: Behaviour, tmp_path: Path) -> None:
    server.cut_after = 30_000
    size = len(FILES["train.en.gz"])
    assert size > 60_000, "the file is large enough to be broken off twice"
    check(fetch("tiny", tmp_path))
    asked = [wanted for name, wanted in server.asked if name == "train.en.gz"]
    assert asked == [None, *(f"bytes={begin}-" for begin in range(30_000, size, 30_000))]


def test_an_interrupted_download_goes_on_in_the_next_run(server: Behaviour, tmp_path: Path) -> None:
    part = tmp_path / "tiny" / ".part" / "train.en.gz"
    part.parent.mkdir(parents=True)
    part.write_bytes(FILES["train.en.gz"][:1000])
    check(fetch("tiny", tmp_path))
    assert server.asked[0] == ("train.en.gz", "bytes=1000-")


def test_a_download_that_was_only_not_renamed(server: Behaviour, tmp_path: Path) -> None:
    part = tmp_path / "tiny" / ".part" / "train.en.gz"
    part.parent.mkdir(parents=True)
    part.write_bytes(FILES["train.en.gz"])
    check(fetch("tiny", tmp_path))


def test_a_server_that_cannot_go_on_sends_all(server: Behaviour, tmp_path: Path) -> None:
    server.ranges = False
    part = tmp_path / "tiny" / ".part" / "train.en.gz"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"something older and quite different")
    check(fetch("tiny", tmp_path))


def test_a_wrong_beginning_is_thrown_away(server: Behaviour, tmp_path: Path) -> None:
    part = tmp_path / "tiny" / ".part" / "train.en.gz"
    part.parent.mkdir(parents=True)
    part.write_bytes(bytes(1000))
    with pytest.raises(DataError, match="try again"):
        fetch("tiny", tmp_path)
    assert not part.exists()
    check(fetch("tiny", tmp_path))


def test_a_server_that_always_breaks_off(server: Behaviour, tmp_path: Path) -> None:
    server.cut_after = 0
    with pytest.raises(DataError, match=r"ends too early\n.*run the command again(.|\n)*--from DIR"):
        fetch("tiny", tmp_path)
    assert len(server.asked) == 5


def test_wrong_content(server: Behaviour, tmp_path: Path) -> None:
    server.replaced["train.fr.gz"] = gzip.compress(b"something else\n")
    with pytest.raises(DataError) as caught:
        fetch("tiny", tmp_path)
    message = str(caught.value)
    assert "train.fr.gz: the content is not the known one" in message
    assert hashlib.sha256(TEXTS["train.fr"].encode()).hexdigest() in message
    assert hashlib.sha256(b"something else\n").hexdigest() in message
    assert not list((tmp_path / "tiny").rglob("train.fr.gz"))


def test_an_address_that_is_gone(server: Behaviour, tmp_path: Path) -> None:
    server.status = 404
    with pytest.raises(DataError, match=r"http://127.*train\.en\.gz(.|\n)*404(.|\n)*--from DIR"):
        fetch("tiny", tmp_path)


def test_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # taken, and nobody listens: connections are refused
        register(monkeypatch, f"http://127.0.0.1:{taken.getsockname()[1]}/raw")
        with pytest.raises(DataError) as caught:
            fetch("tiny", tmp_path)
    message = str(caught.value)
    assert "/raw/train.en.gz: cannot be downloaded" in message
    assert "no connection" in message
    assert "pellucid data tiny --from DIR" in message


# --- local copies ----------------------------------------------------------------------------------------------------


@pytest.fixture
def local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A local copy of the test set: two files as they are published, one unpacked, one compressed in another way."""
    register(monkeypatch, "http://127.0.0.1:1/must-not-be-asked")
    folder = tmp_path / "copy"
    folder.mkdir()
    for name in ("train.en.gz", "val.en.gz"):
        (folder / name).write_bytes(FILES[name])
    (folder / "train.fr").write_text(TEXTS["train.fr"], newline="\n")
    (folder / "val.fr.gz").write_bytes(gzip.compress(TEXTS["val.fr"].encode(), compresslevel=1, mtime=5))
    return folder


def test_from_a_local_copy(local: Path, tmp_path: Path) -> None:
    folder = fetch("tiny", tmp_path / "home", local)
    assert {path.name for path in folder.iterdir()} == {"train.en.gz", "train.fr", "val.en.gz", "val.fr.gz"}
    found = locate("tiny", "train", "fr", "en", tmp_path / "home")
    assert [path.name for path in found.files] == ["train.fr", "train.en.gz"]
    fetch("tiny", tmp_path / "home")  # all there: the network is not asked


def test_a_damaged_file_is_fetched_again(local: Path, tmp_path: Path) -> None:
    folder = fetch("tiny", tmp_path / "home", local)
    (folder / "val.en.gz").write_bytes(b"damaged")
    (folder / "train.en").write_text("a wrong one, found before train.en.gz")
    fetch("tiny", tmp_path / "home", local)
    assert (folder / "val.en.gz").read_bytes() == FILES["val.en.gz"]
    assert not (folder / "train.en").exists()


def test_a_local_copy_that_lacks_a_file(local: Path, tmp_path: Path) -> None:
    (local / "val.fr.gz").unlink()
    with pytest.raises(DataError, match=r"copy: a file of the set is missing\n.*val\.fr\.gz, or the same without \.gz"):
        fetch("tiny", tmp_path / "home", local)


def test_a_local_copy_with_other_content(local: Path, tmp_path: Path) -> None:
    (local / "train.fr").write_text("something else")
    with pytest.raises(DataError, match=r"copy/train\.fr: the content is not the known one"):
        fetch("tiny", tmp_path / "home", local)
    (local / "train.fr").unlink()
    (local / "train.fr.gz").write_bytes(FILES["train.fr.gz"][:-9])
    with pytest.raises(DataError, match=r"copy/train\.fr\.gz: compressed data end too early"):
        fetch("tiny", tmp_path / "home", local)
    assert (local / "train.fr.gz").exists(), "the user's own file stays"


def test_a_home_that_cannot_be_written(local: Path, tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file where a folder should be")
    with pytest.raises(StorageError, match="home"):
        fetch("tiny", tmp_path / "home", local)


# --- folders and files of other kinds --------------------------------------------------------------------------------


@pytest.fixture
def album(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A local copy of a set of a table, bytes that are no text, and a folder of two files."""
    files = {"train.tsv": b"b.jpg\tb\n", "arrays.npz": bytes(range(256))}
    pictures = {"b.jpg": b"\xff\xd8 picture b", "a.jpg": b"\xff\xd8 picture a\n"}
    folder = tmp_path / "copy"
    (folder / "images").mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    for name, content in pictures.items():
        (folder / "images" / name).write_bytes(content)
    # What `LC_ALL=C sha256sum *` prints: sorted, two blanks after the checksum.
    listing = "".join(f"{hashlib.sha256(pictures[name]).hexdigest()}  {name}\n" for name in ("a.jpg", "b.jpg"))
    known = PublicSet(
        name="album",
        what="pictures",
        licence="none",
        languages=(),
        splits={"train": "train"},
        files=tuple(PublicFile(name, hashlib.sha256(text).hexdigest(), len(text)) for name, text in files.items()),
        address=None,
        ending="tsv",
        folder=PublicFolder("images", hashlib.sha256(listing.encode()).hexdigest()),
    )
    monkeypatch.setitem(PUBLIC_SETS, "album", known)
    return folder


def test_a_folder_is_copied_and_checked(album: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = fetch("album", tmp_path / "home", album)
    assert sorted(path.name for path in folder.iterdir()) == ["arrays.npz", "images", "train.tsv"]
    for name in ("arrays.npz", "train.tsv", "images/a.jpg", "images/b.jpg"):
        assert (folder / name).read_bytes() == (album / name).read_bytes()
    assert capsys.readouterr().err.splitlines() == ["album: train.tsv", "album: arrays.npz", "album: images/"]
    (folder / "images" / "a.jpg").write_bytes(b"damaged")
    (folder / ".part" / "images").mkdir(parents=True)
    (folder / ".part" / "images" / "left.jpg").write_bytes(b"by an interrupted copy")
    fetch("album", tmp_path / "home", album)
    assert (folder / "images" / "a.jpg").read_bytes() == (album / "images" / "a.jpg").read_bytes()
    assert capsys.readouterr().err.splitlines() == ["album: images/"]
    assert not (folder / ".part").exists()
    assert locate("album", "train", home=tmp_path / "home") == ((folder / "train.tsv",), False)


def test_a_folder_with_other_content(album: Path, tmp_path: Path) -> None:
    (album / "images" / "c.jpg").write_bytes(b"one too many")
    with pytest.raises(DataError, match=r"copy/images: the content is not the known one\n.*SHA-256"):
        fetch("album", tmp_path / "home", album)
    assert not list((tmp_path / "home").rglob("*.jpg"))
    assert (album / "images" / "c.jpg").exists(), "the user's own file stays"


def test_a_local_copy_that_lacks_the_folder(album: Path, tmp_path: Path) -> None:
    (album / "images").rename(album / "pictures")
    with pytest.raises(DataError, match=r"copy: a folder of the set is missing\n.*images/"):
        fetch("album", tmp_path / "home", album)
    with pytest.raises(DataError, match=r"--from DIR, where DIR holds train\.tsv, arrays\.npz, images/"):
        fetch("album", tmp_path / "home")


# --- the table and the home ------------------------------------------------------------------------------------------


def test_not_fetched_yet(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"multi30k is not there yet\n.*val\.en, val\.de(.|\n)*pellucid data multi30k$"):
        locate("multi30k", "dev", "en", "de", tmp_path)
    with pytest.raises(DataError, match=r"--from DIR$"):
        locate("tatoeba-fra-eng", "dev", "en", "fr", tmp_path)
    with pytest.raises(DataError, match=r"cannot be downloaded\n.*--from DIR.*train\.tsv\.gz"):
        fetch("tatoeba-fra-eng", tmp_path)


def test_what_a_set_has_not(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no split test\n.*train, dev"):
        locate("tatoeba-fra-eng", "test", "en", "fr", tmp_path)
    with pytest.raises(UsageError, match=r"data\.target: multi30k has no such language\n.*en, de, fr\n.*it"):
        locate("multi30k", "train", "en", "it", tmp_path)
    with pytest.raises(UsageError, match="did you mean multi30k"):
        fetch("multi30", tmp_path)
    with pytest.raises(UsageError, match="nothing has to be fetched"):
        fetch("builtin", tmp_path)


@pytest.mark.parametrize(("source", "target", "pair"), [("fr", "en", ("un", "one")), ("en", "fr", ("one", "un"))])
def test_columns_follow_the_languages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, target: str, pair: tuple[str, str]
) -> None:
    table = replace(PUBLIC_SETS["tatoeba-fra-eng"], name="table")
    monkeypatch.setitem(PUBLIC_SETS, "table", table)
    (tmp_path / "table").mkdir()
    (tmp_path / "table" / "dev.tsv").write_text("un\tone\n")
    config = DataConfig(corpus="table", source=source, target=target)
    assert list(open_split(config, "dev", home=tmp_path)) == [pair]


def put(home: Path, name: str, file: str, content: str) -> None:
    (home / name).mkdir(parents=True, exist_ok=True)
    (home / name / file).write_text(content, encoding="utf-8", newline="\n")


def test_one_side_of_a_set_of_pairs(tmp_path: Path) -> None:
    """One column: only the source counts; what ``data.target`` says, and whether that side is there, does not."""
    put(tmp_path, "tatoeba-fra-eng", "dev.tsv", "un\tone\ndeux\ttwo\n")
    put(tmp_path, "multi30k", "val.de", "ein\n")
    for source, texts in (("fr", [("un",), ("deux",)]), ("en", [("one",), ("two",)])):
        config = DataConfig(corpus="tatoeba-fra-eng", source=source)
        assert list(open_split(config, "dev", columns=1, home=tmp_path)) == texts
    assert list(open_split(DataConfig(corpus="multi30k", source="de"), "dev", columns=1, home=tmp_path)) == [("ein",)]
    with pytest.raises(UsageError, match=r"data\.source: multi30k has no such language"):
        open_split(DataConfig(corpus="multi30k"), "dev", columns=1, home=tmp_path)


def test_labelled_sets_ask_for_no_languages(tmp_path: Path) -> None:
    put(tmp_path, "sst2", "dev.tsv", "a fine film .\t1\nfine , a film\t0\n")
    config = DataConfig(corpus="sst2")
    assert list(open_split(config, "dev", home=tmp_path)) == [("a fine film .", "1"), ("fine , a film", "0")]
    assert list(open_split(config, "dev", columns=1, home=tmp_path)) == [("a fine film .",), ("fine , a film",)]
    assert splits_of(config) == ("train", "dev", "test")


def test_sets_that_hold_no_pairs(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"data\.corpus: this corpus holds no pairs\n.*tinyshakespeare: running text"):
        open_split(DataConfig(corpus="tinyshakespeare"), "train", home=tmp_path)
    for columns in (1, 2):
        with pytest.raises(UsageError, match=r"data\.corpus: this corpus holds no"):
            open_split(DataConfig(corpus="mnist"), "train", columns=columns, home=tmp_path)


def test_shakespeare_brings_its_dev_split(tmp_path: Path) -> None:
    put(tmp_path, "tinyshakespeare", "input.txt", "ROMEO:\nHo!\n\nJULIET:\nNo.\n\n")  # 25 characters
    config = DataConfig(corpus="tinyshakespeare")
    parts = [list(open_text(config, split, home=tmp_path)) for split in ("train", "dev")]
    assert parts == [[("ROMEO:\nHo!\n\nJULIET:\nNo",)], [(".\n\n",)]]  # floor(25 x 0.9) = 22
    more = replace(config, holdout=0.5)
    assert list(open_text(more, "train", home=tmp_path)) == [("ROMEO:\nHo!\n\n",)]
    put(tmp_path, "sst2", "train.tsv", "a\t1\n")
    with pytest.raises(UsageError, match="a table is no running text"):
        open_text(DataConfig(corpus="sst2"), "train", home=tmp_path)


def test_the_data_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.delenv("PELLUCID_DATA", raising=False)
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    assert data_home() == Path("/home/someone/.local/share/pellucid")
    monkeypatch.setenv("XDG_DATA_HOME", "relative")  # to be ignored, says the specification
    assert data_home() == Path("/home/someone/.local/share/pellucid")
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    assert data_home() == Path("/data/pellucid")
    monkeypatch.setenv("PELLUCID_DATA", "~/corpora")
    assert data_home() == Path("/home/someone/corpora")


def test_the_table_is_consistent() -> None:
    for name, known in PUBLIC_SETS.items():
        assert known.name == name
        assert known.licence
        endings = (known.ending,) if known.ending else known.languages
        expected = {f"{stem}.{ending}" for stem in known.splits.values() for ending in endings}
        assert {file.name.removesuffix(".gz") for file in known.files} == expected
        assert len({file.sha256 for file in known.files}) == len(known.files)
        assert all(len(file.sha256) == 64 for file in known.files)
        assert known.size == sum(file.size for file in known.files)
        assert known.folder is None or known.address is None, "folders cannot be downloaded"


@pytest.mark.parametrize(
    ("name", "split", "columns", "examples"),
    [
        ("multi30k", "train", 2, 29_000),
        ("multi30k", "dev", 2, 1014),
        ("multi30k", "test", 2, 1000),
        ("tatoeba-fra-eng", "dev", 2, 1452),
        ("tinyshakespeare", "train", 1, 40_000 - 7_223),  # the lines that are not blank
        ("sst2", "test", 2, 1821),
        ("sst5", "train", 2, 8544),
        ("flickr8k-1k", "dev", 2, 565),
    ],
)
def test_the_real_sets(tmp_path: Path, name: str, split: str, columns: int, examples: int) -> None:
    """Needs copies of the sets: ``PELLUCID_TEST_DATA`` names the folder that holds them. Line counts: as published."""
    copies = local_copy(name)
    fetch(name, tmp_path, copies)
    source, target = (*public_sets.public_set(name).languages, "source", "target")[:2]
    opened = open_split(DataConfig(corpus=name, source=source, target=target), split, columns=columns, home=tmp_path)
    assert sum(1 for _ in opened) == examples


def test_the_real_shakespeare(tmp_path: Path) -> None:
    fetch("tinyshakespeare", tmp_path, local_copy("tinyshakespeare"))
    sizes = {}
    for split in ("train", "dev"):
        opened = open_text(DataConfig(corpus="tinyshakespeare"), split, home=tmp_path)
        sizes[split] = sum(len(text) for (text,) in opened)
    assert sizes == {"train": 1_003_854, "dev": 111_540}  # int(0.9 * 1115394), and the rest


def local_copy(name: str) -> Path:
    copies = Path(os.environ.get("PELLUCID_TEST_DATA", "")) / name
    if "PELLUCID_TEST_DATA" not in os.environ or not copies.is_dir():
        pytest.skip(f"no local copy of {name}: set PELLUCID_TEST_DATA to the folder that holds it")
    return copies
