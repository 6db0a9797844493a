"""The updater: each episode is kept as GA4-like events and learned once, whatever dies meanwhile.

    updater = Updater(Path("runs/updater"))
    update = updater.episode(Path("runs/ga4"), now)
    policy = updater.policy(make_policy())  # bids by segment

    FOLDER/episodes/   what came in, see `episodes`
    FOLDER/models/     versions, see `prediction.registry`

An episode is learned when the version that counts it is the champion. A version is made of its parent and one
episode and put to use in one step, so a process that dies before that step has learned nothing, and the next
one learns the episode once.
"""

import datetime as dt
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from gaelp.agents.policy import Policy
from gaelp.core.errors import BadInput
from gaelp.data.discovery.discovering import discover
from gaelp.learning.updater.bids import SegmentBids
from gaelp.learning.updater.config import UpdaterConfig
from gaelp.learning.updater.counts import Counts, count
from gaelp.learning.updater.episodes import Episode, Episodes, number
from gaelp.learning.updater.models import Models, logloss
from gaelp.learning.updater.reading import Told, pool, read_told
from gaelp.learning.updater.segments import Segments
from gaelp.learning.updater.versions import State, Versions
from gaelp.learning.updater.watch import Flown, Worse, judge_predictions, judge_profit
from gaelp.prediction.lock import alone
from gaelp.prediction.registry import Move, Registry

EPISODES, MODELS = "episodes", "models"
LEARNED, REPEATED = "learned", "repeated"


@dataclass(frozen=True, kw_only=True)
class Update:
    """What became of an episode.

    Attributes:
        status: `learned`, or `repeated`: it was learned or set aside before.
        episode: its name; "" where it is kept no longer. version: in use afterwards; None: there is none.
        rolled_back: why a version went back first, with `set_aside`; None: none did.
        logloss: of the episode's visits before they were learned, nats a visit, by the champion and by the
            version before it; None where that cannot be told. visits: that were new.
        profit_usd: all purchases that were new, less what ads cost.
        ad_rows_outside: rows of the stream's ad reports on days outside of its tables, left out.
        discovery: of segments, with `segments`, `new` and `gone` by name, or `unknown`; None: not due.
    """

    status: str
    episode: str
    version: str | None
    rolled_back: dict[str, Any] | None = None
    logloss: dict[str, float | None] | None = None
    visits: int = 0
    profit_usd: float | None = None
    ad_rows_outside: int = 0
    discovery: dict[str, Any] | None = None

    @property
    def is_news(self) -> bool:
        """Whether discovery put new segments to use."""
        return self.discovery is not None and bool(self.discovery.get("new") or self.discovery.get("gone"))

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def update_of(move: Move) -> Update:
    """The update behind a move of the registry that put its version to use."""
    return Update(**{**move.evidence["update"], "version": move.aliases["champion"]})


class Updater:
    """Learns episodes.

    Args:
        folder: made by the first episode. config: how it learns.
        on_segments: told the models each time that discovery has put new segments to use.
    """

    def __init__(
        self,
        folder: Path | str,
        config: UpdaterConfig | None = None,
        *,
        on_segments: Sequence[Callable[[Models], None]] = (),
    ) -> None:
        self.folder = Path(folder)
        self.config = config or UpdaterConfig()
        self.episodes = Episodes(self.folder / EPISODES)
        self.registry = Registry(self.folder / MODELS)
        self._versions = Versions(self.registry)
        self._on_segments = on_segments

    def episode(
        self, path: Path, now: dt.datetime, *, stream: str | None = None, flown: str | None = None
    ) -> Update:
        """Keep an episode and learn it, and before it whatever waits.

        Args:
            path: folder of `gaelp export ga4` or `live_episode`, or tables of GA4's export.
            now: the moment; nothing in the episode may lie after it.
            stream: property that it continues; None: it is a world of its own.
            flown: version of the models that its bids followed; None: none.

        Raises:
            BadInput: it cannot be read; it is not kept then, or waits no more. Or the window was counted with
                another horizon and cannot be counted anew; it waits then.
            UnknownName: there is no version `flown`.
            Locked: another process has been learning for a minute.
        """
        if len(self.waiting()) >= self.config.waiting:
            self.work()
        kept = self.submit(path, now, stream=stream, flown=flown)
        for update in [] if kept is None else self.work():
            if kept is not None and update.episode == kept.name:
                return update
        name = "" if kept is None else kept.name
        return Update(status=REPEATED, episode=name, version=self.registry.aliases()["champion"])

    def submit(
        self, path: Path, now: dt.datetime, *, stream: str | None = None, flown: str | None = None
    ) -> Episode | None:
        """Keep an episode until somebody calls `work`; the arguments are those of `episode`.

        Returns:
            None if it was learned so long ago that it is no longer kept.

        Raises:
            BadInput: there is nothing to read, or too many wait. UnknownName: there is no version `flown`.
        """
        if flown is not None:
            self.registry.get(flown)
        if len(self.waiting()) >= self.config.waiting:
            allowed = f"must be fewer than {self.config.waiting}"
            raise BadInput("episodes waiting", len(self.waiting()), allowed, "Wait until some are learned.")
        state, aside = self._versions.champion(), self._versions.set_aside()
        after = max([state.done, *map(number, aside)])
        known = {*state.known, *aside.values()}
        return self.episodes.add(path, now, stream=stream, flown=flown, after=after, known=known)

    def waiting(self) -> list[Episode]:
        """Episodes that are kept and not learned, oldest first."""
        state, aside = self._versions.champion(), self._versions.set_aside()
        return [
            each for each in self.episodes.all() if number(each.name) > state.done and each.name not in aside
        ]

    def work(self, most: int | None = None) -> list[Update]:
        """Learn what waits, oldest first.

        Args:
            most: episodes to learn; None: all.

        Raises:
            BadInput: an episode cannot be read; it is removed, and those before it are learned. Or the window
                was counted with another horizon or longest lag and cannot be counted anew.
            Locked: another process has been learning for a minute.
        """
        done: list[Update] = []
        self.folder.mkdir(parents=True, exist_ok=True)
        with alone(self.folder / ".updating"):
            for episode in self.waiting()[:most]:
                done.append(self._learn(episode))
            state = self._versions.champion()
            kept = {name for name, *_ in state.learned}
            old = [each.name for each in self.episodes.all() if number(each.name) <= state.done]
            self.episodes.forget(name for name in old if name not in kept)
            self.registry.prune(self.config.versions)
        return done

    def models(self) -> Models | None:
        """The models in use; None before the first episode."""
        state = self._versions.champion()
        return None if state.version is None else state.models(self.config)

    def policy(self, base: Policy) -> Policy:
        """A policy whose bids follow the models in use; the base itself before the first episode."""
        state = self._versions.champion()
        if state.version is None:
            return base
        return SegmentBids(base, state.models(self.config).line_factors, version=state.version)

    def history(self) -> list[dict[str, Any]]:
        """What was told of each move of the versions, oldest first."""
        return [
            {name: getattr(move, name) for name in ("at", "action", "why")}
            | {"version": move.aliases["champion"], "evidence": dict(move.evidence)}
            for move in self.registry.moves()
        ]

    def _learn(self, episode: Episode) -> Update:
        state, key = self._recounted(self._versions.champion()), episode.stream or episode.name
        told = self._read([*state.names(key), episode.name], episode)
        new = count(told, state.segments, self.config)
        fresh = new - state.counts.get(key, Counts())
        earned = Models(fresh, state.segments, self.config).profit_usd
        flown = None
        if episode.flown is not None:
            flown = Flown(episode=episode.name, version=episode.flown, profit_usd=earned)
        losses, visits, worse = self._watch(state, episode, told, fresh, flown)
        rolled_back = None
        if worse is not None:
            state, aside = self._versions.go_back(state, worse, episode.moment)
            state = self._recounted(state)
            rolled_back = {**worse.as_dict(), "set_aside": aside}
            flown = None
            if aside:
                told = self._read([*state.names(key), episode.name], episode)
            new = count(told, state.segments, self.config)
        after = state.with_episode(episode, new, flown, self.config.window)
        discovery = None
        if after.n % self.config.discover_every == 0:
            after, discovery = self._discovered(after, episode)
        update = Update(
            status=LEARNED,
            episode=episode.name,
            version=None,
            rolled_back=rolled_back,
            logloss=losses,
            visits=visits,
            profit_usd=earned,
            ad_rows_outside=told.ad_rows_outside,
            discovery=discovery,
        )
        version = self._versions.write(after, self.config, update.as_dict(), episode.moment)
        if update.is_news:
            for tell in self._on_segments:
                tell(after.models(self.config))
        return replace(update, version=version)

    def _read(self, names: Sequence[str], episode: Episode) -> Told:
        """What the episodes of a stream tell; a new one that cannot be read is removed."""
        try:
            folders = [self.episodes.path(name) for name in names]
            return read_told(folders, episode.moment, self.config.horizon_days)
        except BadInput:
            self.episodes.forget([episode.name])
            raise

    def _watch(
        self, state: State, episode: Episode, told: Told, fresh: Counts, flown: Flown | None
    ) -> tuple[dict[str, float | None] | None, int, Worse | None]:
        """Judge the champion on an episode before it is learned."""
        if state.version is None:
            return None, logloss(state.models(self.config), fresh)[1], None
        ours = logloss(state.models(self.config), fresh)
        losses: dict[str, float | None] = {"champion": ours[0] / ours[1] if ours[1] else None, "before": None}
        worse = None
        previous = self.registry.aliases()["previous"]
        if previous is not None and self._versions.has(previous):
            before = self._versions.read(previous)
            same = fresh
            if before.counted != state.counted:  # it predicts sales within another horizon
                same = Counts()
            elif (
                before.segments != state.segments
            ):  # visits of a stream's earlier episodes cannot be told apart
                same = Counts() if episode.stream else count(told, before.segments, self.config)
            theirs = logloss(before.models(self.config), same)
            if theirs[1]:
                losses["before"] = theirs[0] / theirs[1]
                worse = judge_predictions(ours, theirs, previous, self.config)
        if worse is None and flown is not None:
            worse = judge_profit([*state.flown, flown], self.config)
            worse = worse if worse is None or self._versions.has(worse.to) else None
        return losses, ours[1], worse

    def _recounted(self, state: State) -> State:
        """Count the window anew, if its counts are of another horizon or longest lag than is asked for."""
        if state.counted in (None, self.config.counted):
            return replace(state, counted=self.config.counted)
        kept = {each.name: each.moment for each in self.episodes.all()}
        gone = [name for name, *_ in state.learned if name not in kept]
        try:
            if gone:
                raise BadInput("episodes", gone, "must be kept", "Restore them.")
            moment = max(kept[name] for name, *_ in state.learned)
            counts = self._counted(state, state.segments, moment)
        except BadInput as error:
            asked, (horizon, longest) = self.config.counted, state.counted
            allowed = (
                f"must be {(horizon, longest)}, of which {self.folder} is: counting anew failed: {error}"
            )
            remedy = f"Use --horizon-days {horizon:g}, or a new folder."
            raise BadInput("horizon and longest lag, days", asked, allowed, remedy) from None
        return replace(state, counts=counts, counted=self.config.counted)

    def _counted(self, state: State, segments: Segments, moment: dt.datetime) -> dict[str, Counts]:
        """Counts of the window's events by segments."""
        counts = {}
        for key in state.counts:
            folders = [self.episodes.path(name) for name in state.names(key)]
            told = read_told(folders, moment, self.config.horizon_days)
            counts[key] = count(told, segments, self.config)
        return counts

    def _discovered(self, state: State, episode: Episode) -> tuple[State, dict[str, Any]]:
        """Look for segments in the window's events, and count everybody anew by what is found."""
        with tempfile.TemporaryDirectory(prefix="gaelp-updater-") as place:
            pool(Path(place), [self.episodes.path(name) for name, *_ in state.learned])
            try:
                found = discover(Path(place), now=episode.moment, seed=self.config.seed)
            except BadInput as error:
                return state, {"unknown": str(error)}
        segments = Segments(found)
        if "items" not in found.data["segments"]:
            return state, {"unknown": found.data["segments"]["unknown"]}
        counts = self._counted(state, segments, episode.moment)
        names, known = segments.names, state.segments.names
        told_of = {
            "segments": list(names),
            "new": [name for name in names if name not in known],
            "gone": [name for name in known if name not in names],
        }
        return replace(state, segments=segments, counts=counts), told_of
