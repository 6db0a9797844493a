"""Places that a command is to write, looked at before its work begins."""

import os
from collections.abc import Mapping
from pathlib import Path

from gaelp.core.errors import BadInput


def check_places(files: Mapping[str, str | None], folders: Mapping[str, str | None] | None = None) -> None:
    """Refuse what could not be written after all the work; makes nothing.

    Args:
        files: path of a file to make or replace, by the option that names it; None where nobody asked.
        folders: the same of folders to make or to add to.

    Raises:
        BadInput: a file's place is a folder or a folder's a file, a folder on the way is none, nobody may
            write there, or two options name one place.

    >>> check_places({"out": "/"})
    Traceback (most recent call last):
    gaelp.core.errors.BadInput: `out` was '/'; must be a file, and this is a folder. Name a file in it.
    """
    taken: dict[Path, str] = {}
    for name, given in (*files.items(), *(folders or {}).items()):
        if given is None:
            continue
        path, is_file = Path(given).resolve(), name in files
        if is_file and (path.is_dir() or given.endswith(("/", os.sep))):
            raise BadInput(name, given, "must be a file, and this is a folder", "Name a file in it.")
        if not is_file and path.exists() and not path.is_dir():
            raise BadInput(name, given, "must be a folder, and this is a file", "Name a folder.")
        parent = path.parent if is_file else path
        while not parent.exists():
            parent = parent.parent
        if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
            raise BadInput(name, given, f"cannot be written: see {parent}", "Name another place.")
        if path in taken:
            raise BadInput(name, given, f"must not be the place of {taken[path]}", "Name another place.")
        taken[path] = name
