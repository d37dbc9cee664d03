"""Writing files so that nothing half-written ever stands under its final name."""

import errno
import os
import re
import secrets
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from counterpoint.errors import StorageError

if TYPE_CHECKING:
    from torch import Tensor


@contextmanager
def atomic_path(target: Path | str) -> Generator[Path]:
    """Give a temporary path beside ``target``; on success it is flushed and renamed to ``target``.

    On any exception, Ctrl-C included, the temporary file is removed and ``target`` is untouched.

    Raises:
        StorageError: the folder cannot be written, or the disk is full.
    """
    target = Path(target)
    if not target.name:
        raise StorageError(f"cannot write {str(target)!r}: it names no file; add a file name")
    # The suffix stays last: writers such as PIL choose their format by it. The stem is cut so that
    # a name as long as the file system allows stays writable.
    beside = target.with_name(f".{target.stem[:32]}.tmp-{secrets.token_hex(4)}{target.suffix}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield beside
        with beside.open("rb") as file:
            os.fsync(file.fileno())
        beside.replace(target)
    except StorageError:
        raise
    except OSError as error:
        raise StorageError(explain(error, target)) from error
    finally:
        with suppress(OSError):  # above all where the folder itself could not be made
            beside.unlink()


def common_folder(paths: Sequence[Path]) -> Path:
    """The deepest folder that holds all of some files, absolute; links stay as they are."""
    return Path(os.path.commonpath([absolute(path).parent for path in paths]))


def absolute(path: Path) -> Path:
    """An absolute path without "..", with its links."""
    return Path(os.path.abspath(path))  # noqa: PTH100 (resolve would follow links)


def explain(error: OSError, target: Path) -> str:
    """One line on why a file could not be written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"cannot write {target}: the disk is full; free some space and run again"
    reason = error.strerror or str(error)
    return f"cannot write {target}: {reason}; choose a folder that can be written"


def write_bytes(target: Path | str, data: bytes) -> None:
    """Write ``data`` to ``target`` atomically."""
    with atomic_path(target) as path:
        path.write_bytes(data)


def write_text(target: Path | str, text: str) -> None:
    """Write ``text`` (UTF-8) to ``target`` atomically."""
    write_bytes(target, text.encode())


def save_tensors(
    target: Path | str, tensors: "Mapping[str, Tensor]", metadata: Mapping[str, str]
) -> None:
    """Write tensors and their metadata to one safetensors file, atomically.

    Raises:
        StorageError: the folder cannot be written, or the disk is full.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    with atomic_path(target) as path:
        try:
            save_file(dict(tensors), path, metadata=dict(metadata))
        except SafetensorError as error:
            raise _as_os_error(error) from error


def _as_os_error(error: Exception) -> OSError:
    """What the operating system said, which safetensors reports in words only."""
    code = re.search(r"os error (\d+)", str(error))
    return OSError(int(code[1]), os.strerror(int(code[1]))) if code else OSError(str(error))
