"""Fetching big-lama: complete and checked, or not there at all. A server on this machine's loopback stands in."""

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from spotless_core.errors import ModelError, OutputError
from spotless_core.inpainting.fetch import fetch_big_lama

BODY = bytes(range(256)) * 12_000
MD5 = hashlib.md5(BODY, usedforsecurity=False).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/missing":
            self.send_error(404)
            return
        self.send_response(200)
        if self.path != "/unsized":
            self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        self.wfile.write(BODY[:1000] if self.path == "/cut" else BODY)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
        pass


@pytest.fixture
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()
        thread.join()


def _ignore(_done: int, _total: int) -> None:
    pass


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_file_is_whole_and_alone_in_its_folder(server: str, tmp_path: Path) -> None:
    target = tmp_path / "models" / "big-lama.pt"

    path = fetch_big_lama(target, _ignore, url=f"{server}/big-lama.pt", md5=MD5)

    assert path == target and target.read_bytes() == BODY
    assert _names(target.parent) == ["big-lama.pt"]


def test_progress_counts_up_to_the_whole_size(server: str, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []

    fetch_big_lama(
        tmp_path / "a.pt", lambda done, total: seen.append((done, total)), url=f"{server}/big-lama.pt", md5=MD5
    )

    assert len(seen) >= 2 and seen == sorted(seen) and seen[-1] == (len(BODY), len(BODY))


def test_a_server_that_does_not_say_the_size_is_reported_with_zero(server: str, tmp_path: Path) -> None:
    totals: set[int] = set()

    fetch_big_lama(tmp_path / "a.pt", lambda _done, total: totals.add(total), url=f"{server}/unsized", md5=MD5)

    assert totals == {0}


def test_another_checksum_leaves_nothing_and_keeps_what_was_there(server: str, tmp_path: Path) -> None:
    target = tmp_path / "big-lama.pt"
    target.write_bytes(b"older")

    with pytest.raises(ModelError, match="md5"):
        fetch_big_lama(target, _ignore, url=f"{server}/big-lama.pt", md5="0" * 32)

    assert target.read_bytes() == b"older" and _names(tmp_path) == ["big-lama.pt"]


@pytest.mark.parametrize("page", ["cut", "missing"])
def test_a_broken_download_leaves_nothing(server: str, tmp_path: Path, page: str) -> None:
    with pytest.raises(ModelError):
        fetch_big_lama(tmp_path / "big-lama.pt", _ignore, url=f"{server}/{page}", md5=MD5)

    assert _names(tmp_path) == []


def test_a_server_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"127\.0\.0\.1.*cannot be reached"):
        fetch_big_lama(tmp_path / "big-lama.pt", _ignore, url="http://127.0.0.1:9/x", md5=MD5)


def test_a_good_file_is_not_fetched_again(tmp_path: Path) -> None:
    target = tmp_path / "big-lama.pt"
    target.write_bytes(BODY)

    assert fetch_big_lama(target, _ignore, url="http://127.0.0.1:9/x", md5=MD5) == target


def test_a_folder_that_cannot_be_made_is_an_output_error(server: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")

    with pytest.raises(OutputError, match="cannot be written"):
        fetch_big_lama(tmp_path / "file" / "big-lama.pt", _ignore, url=f"{server}/big-lama.pt", md5=MD5)


def test_only_web_addresses_are_opened(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="http"):
        fetch_big_lama(tmp_path / "a.pt", _ignore, url="file:///etc/hostname", md5=MD5)
