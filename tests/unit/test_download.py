"""Downloading a file by its URL, from a server on this machine."""

import errno
import hashlib
import os
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from counterpoint.backbones.download import download_file
from counterpoint.backbones.weights import find_weights, resolve_weights
from counterpoint.backbones.zoo import ZOO
from counterpoint.errors import MissingWeights, StorageError

CONTENT = os.urandom(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves CONTENT; notes the ranges that are asked for.

    Attributes:
        asked: the header "Range" of every request, None where there was none.
        limit: bytes of a body after which the connection is closed.
        ranges: whether ranges are answered as such.
    """

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked = []
        self.limit = None
        self.ranges = True

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/weights.pt"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        asked = self.headers.get("Range")
        self.server.asked.append(asked)
        if self.path != "/weights.pt":
            self._head(404, 0)
            return
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        if not (start and self.server.ranges):
            self._body(200, CONTENT)
        elif start >= len(CONTENT):
            self._head(416, 0, f"bytes */{len(CONTENT)}")
        else:
            span = f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}"
            self._body(206, CONTENT[start:], span)

    def _head(self, status, length, span=None):
        self.send_response(status)
        self.send_header("Content-Length", str(length))
        if span:
            self.send_header("Content-Range", span)
        self.end_headers()

    def _body(self, status, body, span=None):
        self._head(status, len(body), span)
        self.wfile.write(body[: self.server.limit])
        self.close_connection = self.server.limit is not None

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("NO_PROXY", "*")
    huggingface_hub.close_session()
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        huggingface_hub.close_session()
        running.shutdown()
        thread.join()


@pytest.fixture
def target(tmp_path):
    return tmp_path / "new" / "weights.pt"


@pytest.fixture
def part(target):
    target.parent.mkdir()
    return target.with_name("weights.pt.part")


def assert_complete(target):
    assert target.read_bytes() == CONTENT
    assert target.with_name("weights.pt.sha256").read_text() == f"{SHA256}  weights.pt\n"
    assert len(list(target.parent.iterdir())) == 2


def test_a_whole_file_with_its_digest_beside(server, target):
    assert download_file(server.url, target, sha256=SHA256) == target
    assert_complete(target)
    assert server.asked == [None]


def test_a_broken_off_download_goes_on_where_it_ended(server, target):
    server.limit = 100_000
    with pytest.raises(MissingWeights, match=r"run again to go on from 0.1 MB") as caught:
        download_file(server.url, target)
    assert "\n" not in str(caught.value)
    assert not target.exists()
    assert target.with_name("weights.pt.part").stat().st_size == 100_000
    server.limit = None
    download_file(server.url, target, sha256=SHA256)
    assert server.asked == [None, "bytes=100000-"]
    assert_complete(target)


def test_a_server_without_ranges_starts_again(server, target, part):
    part.write_bytes(CONTENT[:1000])
    server.ranges = False
    download_file(server.url, target, sha256=SHA256)
    assert_complete(target)


def test_a_whole_part_is_only_checked_and_renamed(server, target, part):
    part.write_bytes(CONTENT)
    download_file(server.url, target, sha256=SHA256)
    assert_complete(target)


def test_a_part_of_another_file_is_removed(server, target, part):
    part.write_bytes(CONTENT + b"more")
    with pytest.raises(MissingWeights, match=r"was not the beginning of it and was removed"):
        download_file(server.url, target)
    assert not part.exists()


def test_another_file_than_expected_is_removed(server, target, part):
    part.write_bytes(b"x" * 1000)
    with pytest.raises(MissingWeights, match=f"expected a file of SHA-256 {SHA256} at http"):
        download_file(server.url, target, sha256=SHA256)
    assert not list(target.parent.iterdir())


def test_a_refusal_is_named(server, target):
    with pytest.raises(MissingWeights, match=r"cannot download http.*elsewhere: HTTP 404 Not Fou"):
        download_file(server.url.replace("weights.pt", "elsewhere"), target)
    assert not list(target.parent.iterdir())


def test_no_server_is_named(server, target):
    server.server_close()
    with pytest.raises(MissingWeights, match="cannot download .*; is there a network?") as caught:
        download_file(server.url, target)
    assert "\n" not in str(caught.value)


def test_offline_nothing_is_asked(server, target, monkeypatch):
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(MissingWeights, match="offline mode is enabled"):
        download_file(server.url, target)
    assert server.asked == []


def test_a_full_disk_is_named_and_what_came_is_kept(server, target, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(StorageError, match="the disk is full"):
            download_file(server.url, target)
    assert target.with_name("weights.pt.part").read_bytes() == CONTENT


def test_a_folder_that_cannot_be_made_is_named(server, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="choose a folder that can be written"):
        download_file(server.url, tmp_path / "file" / "weights.pt")


def test_weights_come_from_a_url_only_when_asked(server, tmp_path, monkeypatch):
    monkeypatch.setenv("COUNTERPOINT_MODELS", str(tmp_path))
    row = replace(ZOO["adm"], filename="weights.pt", url=server.url, sha256=SHA256)
    with pytest.raises(MissingWeights, match=f"models fetch adm` to download {server.url}"):
        resolve_weights(row)
    assert server.asked == []
    assert resolve_weights(row, download=True) == tmp_path / "adm" / "weights.pt"
    assert find_weights(row) == tmp_path / "adm" / "weights.pt"
    assert resolve_weights(row, download=True) == tmp_path / "adm" / "weights.pt"
    assert len(server.asked) == 1
