"""Atomic writing: all or nothing, whatever interrupts."""

import errno
import os
import stat
import subprocess
import sys

import pytest

from counterpoint import files
from counterpoint.errors import StorageError
from counterpoint.files import atomic_path, write_bytes, write_text


def names(folder):
    return sorted(p.name for p in folder.rglob("*"))


def test_writes_and_makes_folders(tmp_path):
    target = tmp_path / "a" / "b" / "file.bin"
    write_bytes(target, b"\0\1")
    assert target.read_bytes() == b"\0\1"
    assert names(tmp_path) == ["a", "b", "file.bin"]


def test_text_is_utf8(tmp_path):
    write_text(tmp_path / "ö.txt", "Größe ☺\n")
    assert (tmp_path / "ö.txt").read_bytes() == "Größe ☺\n".encode()


def test_replaces_an_older_file_through_a_string_path(tmp_path):
    write_text(tmp_path / "x", "old")
    write_text(str(tmp_path / "x"), "new")
    assert (tmp_path / "x").read_text() == "new"


@pytest.mark.parametrize("stop", [RuntimeError, KeyboardInterrupt, SystemExit, MemoryError])
def test_an_interruption_leaves_the_old_file_and_nothing_else(tmp_path, stop):
    target = tmp_path / "x.png"
    target.write_text("old")

    def interrupted():
        with atomic_path(target) as beside:
            beside.write_text("half of the new")
            raise stop

    with pytest.raises(stop):
        interrupted()
    assert target.read_text() == "old"
    assert names(tmp_path) == ["x.png"]


def test_nothing_stands_under_the_final_name_while_writing(tmp_path):
    with atomic_path(tmp_path / "x.png") as beside:
        beside.write_text("half")
        assert not (tmp_path / "x.png").exists()
        assert beside.parent == tmp_path
        assert beside.suffix == ".png"
    assert names(tmp_path) == ["x.png"]


def test_two_writers_of_one_file_do_not_meet(tmp_path):
    with atomic_path(tmp_path / "x") as one, atomic_path(tmp_path / "x") as two:
        assert one != two
        one.write_text("1")
        two.write_text("2")
    assert (tmp_path / "x").read_text() == "1"  # the last one to finish


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_called_so(tmp_path, monkeypatch, code):
    def full(_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match=r"^cannot write .*x: the disk is full; free some space"):
        write_bytes(tmp_path / "x", b"data")
    assert names(tmp_path) == []


def test_a_full_disk_found_by_safetensors_is_called_so(tmp_path, monkeypatch):
    import safetensors.torch
    from safetensors import SafetensorError

    def full(*args, **kwargs):
        raise SafetensorError("Error while serializing: I/O error: No space left (os error 28)")

    monkeypatch.setattr(safetensors.torch, "save_file", full)
    with pytest.raises(StorageError, match="the disk is full"):
        files.save_tensors(tmp_path / "x", {}, {})


def test_an_error_of_safetensors_alone_keeps_its_words(tmp_path, monkeypatch):
    import safetensors.torch
    from safetensors import SafetensorError

    def fail(*args, **kwargs):
        raise SafetensorError("no such dtype")

    monkeypatch.setattr(safetensors.torch, "save_file", fail)
    with pytest.raises(StorageError, match="cannot write .*: no such dtype"):
        files.save_tensors(tmp_path / "x", {}, {})


def run_with_file_size_limit(code, tmp_path):
    prelude = (
        "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
    )
    command = [sys.executable, "-c", prelude + code]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )


def test_the_system_refusing_to_write_on_is_one_line_and_leaves_nothing(tmp_path):
    pytest.importorskip("resource")
    code = "from counterpoint.files import write_bytes; write_bytes('x.bin', bytes(100_000))"
    done = run_with_file_size_limit(code, tmp_path)
    assert "StorageError: cannot write x.bin: File too large" in done.stderr.splitlines()[-1]
    assert names(tmp_path) == []


@pytest.mark.parametrize("target", ["", ".", "/"])
def test_a_target_without_a_name(target):
    with pytest.raises(StorageError, match="names no file"):
        write_bytes(target, b"")


def test_a_file_where_a_folder_should_be(tmp_path):
    (tmp_path / "file").write_text("in the way")
    for target in (tmp_path / "file" / "x", tmp_path / "file" / "deep" / "x"):
        with pytest.raises(StorageError, match="^cannot write .*; choose a folder"):
            write_bytes(target, b"")
    assert names(tmp_path) == ["file"]


def test_a_folder_where_the_file_should_be(tmp_path):
    (tmp_path / "x").mkdir()
    with pytest.raises(StorageError, match="^cannot write .*x: "):
        write_bytes(tmp_path / "x", b"")
    assert names(tmp_path) == ["x"]


@pytest.mark.parametrize("name", ["n" * 255, "n" * 248 + ".tensor", "ä" * 127, "." + "n" * 254])
def test_names_as_long_as_the_system_allows(tmp_path, name):
    write_bytes(tmp_path / name, b"1")
    assert names(tmp_path) == [name]


def test_a_name_that_is_too_long(tmp_path):
    with pytest.raises(StorageError, match="File name too long"):
        write_bytes(tmp_path / ("n" * 300), b"1")
    assert names(tmp_path) == []


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written(tmp_path):
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        with pytest.raises(StorageError, match="Permission denied; choose a folder"):
            write_bytes(tmp_path / "x", b"1")
    finally:
        tmp_path.chmod(stat.S_IRWXU)


def test_a_storage_error_from_within_is_not_wrapped_again(tmp_path):
    inner = StorageError("the disk is on fire")

    def fails():
        with atomic_path(tmp_path / "x"):
            raise inner

    with pytest.raises(StorageError) as caught:
        fails()
    assert caught.value is inner
