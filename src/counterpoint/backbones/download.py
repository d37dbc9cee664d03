"""Downloading one file by its URL; a download that was broken off goes on where it ended.

The hub's client does the same for repositories; this is for weights that lie elsewhere.
"""

import os
import re
from collections.abc import Generator
from contextlib import contextmanager
from hashlib import file_digest
from pathlib import Path
from typing import Any

from counterpoint.errors import CounterpointError, MissingWeights, StorageError
from counterpoint.files import explain, write_text

TIMEOUT_S = 30.0
"""How long to wait for a connection, and then for each next piece."""


def download_file(url: str, target: Path, *, sha256: str = "") -> Path:
    """Download to ``target``, by way of ``target.part``, which the next call goes on with.

    The file's SHA-256 is noted beside it as ``target.sha256``, in the format of ``sha256sum``.

    Args:
        url: http or https.
        target: where the file goes.
        sha256: what the file's digest must be; empty: not known.

    Returns:
        ``target``.

    Raises:
        MissingWeights: offline, refused, broken off, or not the file that was expected.
        StorageError: the folder cannot be written or the disk is full.
    """
    part = target.with_name(f"{target.name}.part")
    with _disk(target):
        part.parent.mkdir(parents=True, exist_ok=True)
    try:
        _fetch(url, part)
    except CounterpointError:
        raise
    except Exception as error:  # the client raises many kinds, all mean "not now"
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise MissingWeights(f"cannot download {url}: {reason}; {_held(part)}") from error
    with _disk(target):
        _check(url, part, sha256, target)
        part.replace(target)
    return target


def _fetch(url: str, part: Path) -> None:
    """Append what is missing to ``part``."""
    from huggingface_hub import get_session

    held = _size(part)
    # Compressed on its way, a file's pieces would not be the file's bytes.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={held}-"} if held else {})
    with get_session().stream("GET", url, headers=headers, timeout=TIMEOUT_S) as response:
        if response.status_code == 416:
            _check_size(url, part, held, response)
            return
        if response.status_code not in (200, 206):
            raise MissingWeights(
                f"cannot download {url}: HTTP {response.status_code} "
                f"{response.reason_phrase}; {_held(part)}"
            )
        start = _start(response)
        length = response.headers.get("Content-Length")
        total = None if length is None else start + int(length)
        # The client's own errors are no OSErrors: those are the disk's.
        with _disk(part):
            _append(response, part, start, total)
    if total is not None and _size(part) < total:
        raise MissingWeights(f"cannot download {url}: broken off; {_held(part)}")


def _append(response: Any, part: Path, start: int, total: int | None) -> None:
    from huggingface_hub.utils import tqdm

    bar = tqdm(
        total=total,
        initial=start,
        unit="B",
        unit_scale=True,
        desc=part.stem,
        disable=None,  # where nobody watches
    )
    with bar, part.open("r+b" if start else "wb") as file:
        file.seek(start)
        file.truncate()
        for chunk in response.iter_bytes():
            file.write(chunk)
            bar.update(len(chunk))
        file.flush()
        os.fsync(file.fileno())


def _start(response: Any) -> int:
    """Where in the file the response begins: a server may answer a range with the whole."""
    span = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return int(span[1]) if response.status_code == 206 and span else 0


def _check_size(url: str, part: Path, held: int, response: Any) -> None:
    """Nothing lies behind what is held: either all of it is here, or it is of another file."""
    whole = re.fullmatch(r"bytes \*/(\d+)", response.headers.get("Content-Range", ""))
    if whole is None or int(whole[1]) != held:
        part.unlink()
        raise MissingWeights(
            f"cannot download {url}: {part} was not the beginning of it and was removed; run again"
        )


def _check(url: str, part: Path, sha256: str, target: Path) -> None:
    """Compare the digest, and note it beside the target."""
    with part.open("rb") as file:
        digest = file_digest(file, "sha256").hexdigest()
    if sha256 and digest != sha256:
        part.unlink()
        raise MissingWeights(
            f"expected a file of SHA-256 {sha256} at {url}, got {digest}; it was removed"
        )
    write_text(target.with_name(f"{target.name}.sha256"), f"{digest}  {target.name}\n")


def _held(part: Path) -> str:
    held = _size(part)
    return f"run again to go on from {held / 1e6:.1f} MB" if held else "is there a network?"


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


@contextmanager
def _disk(target: Path) -> Generator[None]:
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        raise StorageError(explain(error, target)) from error
