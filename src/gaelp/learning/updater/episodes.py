"""Episodes as they wait and are kept: whole folders of GA4's events and ad reports, in the order they came.

    EPISODES/e000001/events/           GA4's tables, as `worlds.ga4_export` or BigQuery wrote them
    EPISODES/e000001/ads.csv           what ad platforms report, if they were there
    EPISODES/e000001/reports.parquet   bids and impression shares, see `worlds.reports`, if they were there
    EPISODES/e000001/episode.json      `Episode`

A folder appears complete, by being renamed, so a process that dies leaves an episode or none.
"""

import datetime as dt
import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from gaelp.agents.policy import Policy
from gaelp.core.errors import BadInput
from gaelp.core.files import sha256_of, sync, write_text_atomic
from gaelp.data.ga4.reading import find_files
from gaelp.market.market import World
from gaelp.prediction.lock import alone
from gaelp.worlds.flight import Tick
from gaelp.worlds.ga4_export import ADS, EVENTS_FOLDER, Ga4Options, export_ga4
from gaelp.worlds.reports import REPORTS, Watched, write_reports

_TOLD = "episode.json"
_STREAM = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


@dataclass(frozen=True, kw_only=True)
class Episode:
    """One episode.

    Attributes:
        name: such as e000001. sha256: of what it holds; two that hold the same are one.
        stream: property that it continues: its visitors may buy in a later episode of the stream. None: a
            world of its own.
        flown: version of the models that its bids followed; None: none.
        now: when it was handed in, UTC.
    """

    name: str
    sha256: str
    stream: str | None
    flown: str | None
    now: str

    @property
    def moment(self) -> dt.datetime:
        """When it was handed in."""
        return dt.datetime.fromisoformat(self.now)


class Episodes:
    """A folder of episodes.

    Args:
        folder: made by the first episode.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add(
        self,
        path: Path,
        now: dt.datetime,
        *,
        stream: str | None = None,
        flown: str | None = None,
        after: int = 0,
        known: Collection[str] = (),
    ) -> Episode | None:
        """Keep an episode; one that is there already is returned as it is.

        Args:
            path: folder of `gaelp export ga4`, or any with tables of GA4's export in it.
            now: the moment; nothing in the episode may lie after it.
            stream, flown: see `Episode`.
            after: number that a new one comes after, whatever is kept.
            known: SHA-256 of episodes that were kept once.

        Returns:
            None if it is known and no longer kept.

        Raises:
            BadInput: there is no export, a name is malformed, or the time zone is missing.
        """
        if now.tzinfo is None:
            raise BadInput("now", now, "must name its time zone", "Use datetime(..., tzinfo=datetime.UTC).")
        if stream is not None and not _STREAM.fullmatch(stream):
            allowed = "must be 1 to 64 letters, digits, - or _"
            raise BadInput("stream", stream, allowed, "Name the property, such as shop-eu.")
        source = path / EVENTS_FOLDER if (path / EVENTS_FOLDER).is_dir() else path
        files = [(each.path.relative_to(source), each.path) for each in find_files(source)]
        beside = [(Path(name), path / name) for name in (ADS, REPORTS) if (path / name).is_file()]
        digest = hashlib.sha256(f"{stream}".encode())
        for inside, file in files + beside:
            digest.update(f"{inside} {sha256_of(file)}\n".encode())
        sha256 = digest.hexdigest()
        self.folder.mkdir(parents=True, exist_ok=True)
        with alone(self.folder / ".lock"):
            for leftover in self.folder.glob(".e*"):  # of writers that died
                shutil.rmtree(leftover, ignore_errors=True)
            kept = self.all()
            same = next((each for each in kept if each.sha256 == sha256), None)
            if same is not None:
                return same
            if sha256 in known:
                return None
            last = max((number(each.name) for each in kept), default=0)
            name = f"e{max(last, after) + 1:06d}"
            neighbour = self.folder / f".{name}.{secrets.token_hex(4)}"
            for inside, file in files:
                _copy(file, neighbour / EVENTS_FOLDER / inside)
            for inside, file in beside:
                _copy(file, neighbour / inside)
            at = now.astimezone(dt.UTC).isoformat()
            episode = Episode(name=name, sha256=sha256, stream=stream, flown=flown, now=at)
            write_text_atomic(neighbour / _TOLD, json.dumps(asdict(episode), indent=1) + "\n")
            os.rename(neighbour, self.folder / name)
            sync(self.folder)
            return episode

    def all(self) -> list[Episode]:
        """Those that are kept, oldest first."""
        found = sorted(self.folder.glob(f"e*/{_TOLD}"))
        return [Episode(**json.loads(path.read_text(encoding="utf-8"))) for path in found]

    def path(self, name: str) -> Path:
        """Folder of an episode."""
        return self.folder / name

    def forget(self, names: Iterable[str]) -> None:
        """Remove some."""
        for name in names:
            hidden = self.folder / f".{name}.{secrets.token_hex(4)}"
            os.rename(self.folder / name, hidden)
            shutil.rmtree(hidden)


def live_episode(
    folder: Path,
    world: World,
    policy: Policy,
    *,
    n_people: int,
    days: int,
    options: Ga4Options | None = None,
    seed: int = 0,
    tick: Tick = lambda _: None,
) -> Path:
    """Fly a policy in a world and write what its account could export, bids and impression shares too.

    Args:
        folder: gets what `export_ga4` writes, and `REPORTS`. world, policy: lived and flown.
        n_people: of the panel. days: of the flight. options: how it is told.
        seed: for policies that draw. tick: told the world-hours done.

    Returns:
        The folder, for `Updater.episode`.

    Raises:
        BadInput: as `export_ga4`.
    """
    watched = Watched(policy, world.file, n_people)
    told = options or Ga4Options()
    export_ga4(folder, world, watched, n_people=n_people, days=days, options=told, seed=seed, tick=tick)
    write_reports(folder / REPORTS, watched.reports())
    return folder


def number(name: str) -> int:
    """Number of an episode by its name.

    >>> number("e000012")
    12
    """
    return int(name[1:])


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    sync(target)
