"""Files that are either whole or not there."""

import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gaelp.core.errors import BadInput


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Let the caller write a temporary neighbour of `path`, then put it in place in one step.

    For writers that want a path (npz, Parquet). The neighbour keeps the suffix of `path`, because some
    writers add one they miss. If the block raises, nothing changes and the neighbour is removed.

    Args:
        path: the file to make or replace; missing folders on the way are made.

    Yields:
        Where to write.

    Raises:
        OSError: if the folder cannot be written.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    neighbour = target.with_name(f".{target.stem}.{secrets.token_hex(4)}{target.suffix}")
    try:
        yield neighbour
        sync(neighbour)
        os.replace(neighbour, target)
    finally:
        neighbour.unlink(missing_ok=True)
    sync(target.parent)  # the rename itself must survive a power cut


def write_bytes_atomic(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a file so that a reader sees the old content or the new, never a part.

    Args:
        path: the file to make or replace; missing folders on the way are made.
        data: its whole content.

    Raises:
        OSError: if the folder cannot be written.
    """
    with replacing(path) as neighbour:
        neighbour.write_bytes(data)


def write_text_atomic(path: str | os.PathLike[str], text: str) -> None:
    """Write a UTF-8 text file so that a reader sees the old content or the new, never a part.

    Args:
        path: the file to make or replace; missing folders on the way are made.
        text: its whole content; line ends are kept as they are.

    Raises:
        OSError: if the folder cannot be written.
    """
    write_bytes_atomic(path, text.encode("utf-8"))


def sha256_of(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file's content as 64 hexadecimal digits.

    Args:
        path: the file to read.

    Returns:
        The digest, as `sha256sum` prints it.

    Raises:
        OSError: if the file cannot be read.
    """
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync(path: Path) -> None:
    """Wait until a file or a folder is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def check_block(path: Path, name: str) -> None:
    """Check that a text file has the block that `replace_block` replaces.

    Raises:
        BadInput: it cannot be read, or the block's two comments are not there once, in order.
    """
    _block(path, name)


def replace_block(path: Path, name: str, text: str) -> None:
    """Replace what stands between `<!-- name:begin -->` and `<!-- name:end -->` in a text file.

    Args:
        path: the file; written whole or not at all. name: of the block.
        text: what stands there now; ends with a line end.

    Raises:
        BadInput: as `check_block`.
    """
    before, after = _block(path, name)
    write_text_atomic(path, f"{before}\n{text}\n{after}")


def _block(path: Path, name: str) -> tuple[str, str]:
    """The text up to the block, its first comment included, and the text from its last comment on."""
    begin, end = f"<!-- {name}:begin -->\n", f"<!-- {name}:end -->"
    remedy = f"Put the lines {begin.strip()} and {end} where the block belongs."
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput("file", str(path), "must be a text file that exists", remedy) from error
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(end) < text.index(begin):
        raise BadInput("file", str(path), f"must hold the block {name} once", remedy)
    before, _, rest = text.partition(begin)
    return before + begin, end + rest.partition(end)[2]
