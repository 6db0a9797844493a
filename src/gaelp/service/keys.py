"""Keys of callers: what each may do, hashed at rest.

A key is `gaelp_ID_SECRET`. The file keeps its id, name, scopes and the SHA-256 of the secret; the secret has
256 random bits, so no slow hash is needed to keep it from being guessed. It is shown once, when it is made.
"""

import datetime as dt
import hashlib
import hmac
import json
import os
import re
import secrets
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from gaelp.core.errors import BadInput
from gaelp.core.files import replacing
from gaelp.core.names import require_known
from gaelp.prediction.lock import alone

SCOPES = ("predict", "retrain", "read", "events")
_KEY = re.compile(r"gaelp_([0-9a-f]{8})_([\w-]{43})")
_FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class ApiKey:
    """Who may call.

    Attributes:
        key_id: not secret. name: of the caller, for logs. scopes: what it may do, of `SCOPES`.
        sha256: of the secret. made, revoked: when, UTC; None: it still holds.
    """

    key_id: str
    name: str
    scopes: tuple[str, ...]
    sha256: str
    made: str
    revoked: str | None = None


class KeyFile:
    """Keys in a file that only its owner may read; writers take turns.

    Args:
        path: made by the first `add`.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._seen: tuple[int, int, int] | None = None
        self._known: dict[str, ApiKey] = {}

    def add(self, name: str, scopes: Sequence[str], *, now: dt.datetime) -> tuple[str, ApiKey]:
        """Make a key.

        Args:
            name: of the caller. scopes: what it may do. now: the moment.

        Returns:
            The key itself, which is nowhere kept, and what is kept of it.

        Raises:
            BadInput: nobody is named, no scope is given, or the file is no file of keys.
            UnknownName: there is no such scope.
            Locked: another process has been writing for a minute.
        """
        if not re.fullmatch(r"[\w .@-]{1,80}", name) or not name.strip():
            allowed = "must be 1 to 80 letters, digits, spaces or .@_-"
            raise BadInput("name", name, allowed, "Name who will call, such as cron.")
        if not scopes:
            raise BadInput("scopes", (), "must name at least one", f"Choose among {', '.join(SCOPES)}.")
        for scope in scopes:
            require_known("scope", scope, SCOPES)
        secret = secrets.token_urlsafe(32)
        with self._writing():
            kept = self._read()
            key_id = next(each for each in iter(lambda: secrets.token_hex(4), "") if each not in kept)
            scope_set = tuple(scope for scope in SCOPES if scope in scopes)
            key = ApiKey(key_id=key_id, name=name, scopes=scope_set, sha256=_digest(secret), made=_text(now))
            self._write({**kept, key_id: key})
        return f"gaelp_{key_id}_{secret}", key

    def revoke(self, key_id: str, *, now: dt.datetime) -> ApiKey:
        """End a key; a running service refuses it within a second.

        Raises:
            UnknownName: there is no such key. The rest as `add`.
        """
        with self._writing():
            kept = self._read()
            require_known("key", key_id, kept)
            key = replace(kept[key_id], revoked=kept[key_id].revoked or _text(now))
            self._write({**kept, key_id: key})
        return key

    def keys(self) -> list[ApiKey]:
        """All keys, revoked ones too, oldest first.

        Raises:
            BadInput: the file is no file of keys.
        """
        return list(self._read().values())

    def find(self, key: str) -> ApiKey | None:
        """The key that a caller shows, unless it is unknown or revoked; in constant time for one id."""
        matched = _KEY.fullmatch(key)
        if matched is None:
            return None
        held = self._known.get(matched[1])
        digest = _digest(matched[2])
        if held is None or not hmac.compare_digest(digest, held.sha256) or held.revoked:
            return None
        return held

    def refresh(self) -> None:
        """Read the file again if it changed; `find` uses what was read last.

        Raises:
            BadInput: the file is no file of keys.
        """
        seen = _stamp(self.path)
        if seen != self._seen:
            self._known = self._read()
            self._seen = seen

    def _writing(self) -> AbstractContextManager[None]:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        return alone(self.path.with_name(f".{self.path.name}.lock"))

    def _read(self) -> dict[str, ApiKey]:
        try:
            told = json.loads(self.path.read_bytes())
            if told["format"] != _FORMAT:
                raise ValueError
            return {
                each["key_id"]: ApiKey(**{**each, "scopes": tuple(each["scopes"])}) for each in told["keys"]
            }
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, LookupError, TypeError):
            allowed = "must be a file that `gaelp serve keys add` made"
            raise BadInput("keys", str(self.path), allowed, "Name another file, or remove it.") from None

    def _write(self, keys: dict[str, ApiKey]) -> None:
        told = {"format": _FORMAT, "keys": [asdict(each) for each in keys.values()]}
        with replacing(self.path) as neighbour:
            descriptor = os.open(neighbour, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(json.dumps(told, indent=1) + "\n")


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size


def _text(now: dt.datetime) -> str:
    return now.astimezone(dt.UTC).isoformat(timespec="seconds")
