"""Versions of the models: what each holds, in the registry's folders, and which episodes were set aside."""

import datetime as dt
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from gaelp import __version__
from gaelp.core.errors import BadInput, MismatchError
from gaelp.core.files import write_text_atomic
from gaelp.data.discovery.found import Discovered
from gaelp.learning.updater.config import UpdaterConfig
from gaelp.learning.updater.counts import Counts, as_json, from_json, total
from gaelp.learning.updater.episodes import Episode, number
from gaelp.learning.updater.models import Models
from gaelp.learning.updater.segments import Segments
from gaelp.learning.updater.watch import Flown, Worse
from gaelp.prediction.registry import Lineage, Registry

_FORMAT = 1
_STATE, _MODELS, _UPDATE, _PATTERNS = "state.json", "models.json", "update.json", "discovered_patterns.json"
WHO = "model updater"


@dataclass(frozen=True, kw_only=True)
class State:
    """All that the next version is made from.

    Attributes:
        version: that holds it; None: nothing was learned yet.
        done: number of the last episode learned. n: episodes learned so far.
        learned: (name, SHA-256, stream) of those in the window, oldest first.
        known: SHA-256 of all.
        counts: by stream, or by the name of an episode that continues none.
        flown: what episodes earned that were flown by a version's models, oldest first.
        segments: that visitors are put into.
        counted: see `UpdaterConfig.counted`, of the counts; None: nothing was counted yet.
    """

    version: str | None = None
    done: int = 0
    n: int = 0
    learned: tuple[tuple[str, str, str | None], ...] = ()
    known: tuple[str, ...] = ()
    counts: Mapping[str, Counts] = field(default_factory=dict)
    flown: tuple[Flown, ...] = ()
    segments: Segments = field(default_factory=Segments)
    counted: tuple[float, int] | None = None

    def models(self, config: UpdaterConfig) -> Models:
        """The models of the counts, with the horizon and the longest lag that these were counted with."""
        if self.counted is not None:
            horizon_days, longest_lag_days = self.counted
            config = replace(config, horizon_days=horizon_days, longest_lag_days=longest_lag_days)
        return Models(total(self.counts.values()), self.segments, config)

    def names(self, key: str) -> list[str]:
        """Episodes in the window behind the counts of a key, oldest first."""
        return [name for name, _, stream in self.learned if (stream or name) == key]

    def with_episode(self, episode: Episode, counts: Counts, flown: Flown | None, window: int) -> "State":
        """The state after an episode; what falls out of the window is forgotten."""
        learned = (*self.learned, (episode.name, episode.sha256, episode.stream))[-window:]
        kept = {stream or name for name, _, stream in learned}
        own = {**self.counts, episode.stream or episode.name: counts}
        return replace(
            self,
            done=number(episode.name),
            n=self.n + 1,
            learned=learned,
            known=(*self.known, episode.sha256),
            counts={key: each for key, each in sorted(own.items()) if key in kept},
            flown=self.flown if flown is None else (*self.flown, flown),
        )


class Versions:
    """The updater's versions.

    Args:
        registry: that holds them.
    """

    def __init__(self, registry: Registry) -> None:
        self.registry = registry

    def champion(self) -> State:
        """The state of the version in use; an empty one before the first."""
        name = self.registry.aliases()["champion"]
        return State() if name is None else self.read(name)

    def read(self, name: str) -> State:
        """The state of a version.

        Raises:
            UnknownName: there is none.
            MismatchError: another release wrote it.
        """
        version = self.registry.get(name)
        data = _json(version.folder / _STATE)
        if data.get("format") != _FORMAT:
            raise MismatchError("state", data.get("format"), f"must be of format {_FORMAT}", "Update gaelp.")
        patterns = version.folder / _PATTERNS
        config = version.lineage.config
        return State(
            version=version.name,
            done=data["done"],
            n=data["n"],
            learned=tuple((name, sha256, stream) for name, sha256, stream in data["learned"]),
            known=tuple(data["known"]),
            counts={key: from_json(rows) for key, rows in data["counts"].items()},
            flown=tuple(Flown(**each) for each in data["flown"]),
            segments=Segments(Discovered.read(patterns) if patterns.is_file() else None),
            counted=(config["horizon_days"], config["longest_lag_days"]),
        )

    def write(self, state: State, config: UpdaterConfig, told: Mapping[str, Any], now: dt.datetime) -> str:
        """Register a state as a version and put it to use; returns its name.

        Args:
            state: its `version` is the parent. config: that made it. told: of the update. now: the moment.
        """
        data = {
            "format": _FORMAT,
            "done": state.done,
            "n": state.n,
            "learned": state.learned,
            "known": state.known,
            "counts": {key: as_json(each) for key, each in state.counts.items()},
            "flown": [vars(each) for each in state.flown],
        }
        with tempfile.TemporaryDirectory(prefix="gaelp-version-") as place:
            folder = Path(place)
            write_text_atomic(folder / _STATE, json.dumps(data) + "\n")
            for name, each in ((_MODELS, state.models(config).as_dict()), (_UPDATE, told)):
                write_text_atomic(folder / name, json.dumps(each, indent=1, allow_nan=False) + "\n")
            if state.segments.discovered is not None:
                state.segments.discovered.write(folder / _PATTERNS)
            lineage = Lineage(
                data_sha256=state.learned[-1][1],
                code={"gaelp": __version__},
                seed=config.seed,
                metrics={name: told[name] for name in ("logloss", "profit_usd")},
                config=config.as_dict(),
                parent=state.version,
            )
            why = f"episode {state.learned[-1][0]} learned"
            version = self.registry.register(folder, lineage, who=WHO, why=why, now=now)
        self.registry.promote(
            version.name, who=WHO, why=why, now=now, over=state.version, evidence={"update": dict(told)}
        )
        return version.name

    def go_back(self, state: State, worse: Worse, now: dt.datetime) -> tuple[State, list[str]]:
        """Put an earlier version to use again; what was learned after it is set aside.

        Args:
            state: of the champion. worse: why, and to which. now: the moment.

        Returns:
            The state of that version, and names of episodes set aside.
        """
        back = self.read(worse.to)
        aside = [each for each in state.learned if each not in back.learned and number(each[0]) > back.done]
        evidence = {
            "reason": worse.as_dict(),
            "set_aside": {name: sha256 for name, sha256, _ in aside},
        }
        why = f"{worse.code}: {worse.value:.0%} worse, more than {worse.limit:.0%} are allowed"
        if self.registry.aliases()["previous"] == back.version:
            self.registry.rollback(who=WHO, why=why, now=now, evidence=evidence)
        else:
            self.registry.promote(worse.to, who=WHO, why=why, now=now, over=state.version, evidence=evidence)
        return back, [name for name, *_ in aside]

    def set_aside(self) -> dict[str, str]:
        """SHA-256 by name of episodes that a version went back from."""
        found: dict[str, str] = {}
        for move in self.registry.moves():
            found |= move.evidence.get("set_aside", {})
        return found

    def has(self, name: str) -> bool:
        """Whether a version is kept."""
        return any(version.name == name for version in self.registry.versions())


def _json(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        remedy = "Roll back, or name the folder of an updater."
        raise BadInput("version", path.name, f"must be readable: {error}", remedy) from None
    return found
