"""The auctionnet's table: baselines and learnt policies in the same held-out periods, with intervals."""

import hashlib
import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gaelp.agents.auctionnet_policies import (
    Corrected,
    CostCurve,
    Dual,
    Fixed,
    Learned,
    Network,
    OnlineLp,
    SeatPolicy,
    StepPid,
)
from gaelp.agents.networks import ActorCritic
from gaelp.core.errors import BadInput
from gaelp.core.files import replacing, write_text_atomic
from gaelp.evaluation.intervals import Interval, PairedInterval, mean_interval, paired_interval
from gaelp.learning.auctionnet_log import collect_log
from gaelp.learning.auctionnet_ppo import PracticeSettings, train
from gaelp.learning.offline import Learner, Log, OfflineSettings
from gaelp.worlds.auctionnet_flight import Flown, earlier_periods, fly, stated_rivals
from gaelp.worlds.auctionnet_task import AuctionNetSettings, score

TRAINING_SEED, HELD_OUT_SEED = 1, 2
"""Families of periods: the cost curve, the log and all tuning come from the first alone."""
REFERENCE = "dual"

Told = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class TableSettings:
    """What a table is made of.

    Attributes:
        periods: held-out, one seat each. log_periods: for BC, IQL and whoever else reads the log.
        updates: of BC and of IQL. offline: how they learn. task: of all periods.
    """

    periods: int = 48
    log_periods: int = 36
    updates: int = 4_000
    offline: OfflineSettings = field(default_factory=OfflineSettings)
    task: AuctionNetSettings = field(default_factory=AuctionNetSettings)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One policy.

    Attributes:
        score: mean over periods. predicted: the same of predicted conversions, without their luck.
        gain: score less the reference's, same periods. conversions: mean.
        within: share of periods at or under the CPA limit. spend_share: mean spend / budget.
    """

    policy: str
    score: Interval
    predicted: Interval
    gain: PairedInterval
    conversions: float
    within: float
    spend_share: float


class AuctionNetTable:
    """Makes a table piece by piece in a folder, and takes from it what it finds there.

    A flight carries a digest of what flew and of the settings; one that has another is not taken for it.

    Args:
        folder: for the cost curve, the log, networks and flights. settings: must be those of the folder.
        told: called with a line of progress. practice: of `ppo`; must be that of a checkpoint found there.

    Raises:
        BadInput: the folder holds pieces made with other settings, or that cannot be read.
    """

    def __init__(
        self,
        folder: Path,
        settings: TableSettings | None = None,
        told: Told = lambda _: None,
        practice: PracticeSettings | None = None,
    ) -> None:
        self.folder, self.settings, self._told = folder, settings or TableSettings(), told
        self._practice = practice
        config, said = folder / "config.json", json.dumps(asdict(self.settings), indent=1)
        pieces = config.exists() or any(folder.glob("*.npz"))
        if pieces and not (config.exists() and config.read_text() == said):
            remedy = "Name another folder, or delete this one."
            raise BadInput("folder", str(folder), "must be empty or made with the same settings", remedy)
        write_text_atomic(config, said)

    def curve(self) -> CostCurve:
        """The cost curve that `online_lp` and `dual` start from."""
        path = self.folder / "curve.npz"
        if not path.exists():
            self._told("cost curve of earlier periods")
            found = earlier_periods(seed=TRAINING_SEED, settings=self.settings.task)
            with replacing(path) as neighbour:
                np.savez(neighbour, edge=found.edge, cost=found.cost, traffic=found.traffic)
        arrays = _arrays(path)
        return CostCurve(**{part.name: arrays[part.name] for part in fields(CostCurve)})

    def log(self) -> Log:
        """What the stated rivals did on training periods, with noise."""
        path = self.folder / "log.npz"
        if not path.exists():
            n = self.settings.log_periods
            collect_log(
                stated_rivals(self.curve()),
                seed=TRAINING_SEED,
                periods=range(1000, 1000 + n),
                settings=self.settings.task,
                told=lambda done: self._told(f"log: {done} of {n} periods"),
            ).save(path)
        return Log.load(path)

    def network(self, algorithm: Literal["bc", "iql"]) -> Network:
        """BC or IQL, trained on the log."""
        path = self.folder / f"{algorithm}.npz"
        if not path.exists():
            self._told(f"{algorithm}: {self.settings.updates} updates")
            learner = Learner(algorithm, self.log(), self.settings.offline).fit(self.settings.updates)
            learner.network().save(path)
        return Network.load(path)

    def corrector(self) -> ActorCritic:
        """The network of `ppo`, trained in the environment; a training that was stopped goes on."""
        path, task = self.folder / "ppo.npz", self.settings.task
        return train(path, self.curve(), self._practice, task, self._told)

    def flown(self, name: str, networks: Mapping[str, Path] | None = None) -> Flown:
        """A policy's held-out flight.

        Args:
            name: of `POLICIES`, or of a network. networks: files of other learners, by name.
        """
        path = self.folder / f"flown_{name}.npz"
        policy, digest = self._policy(name, networks or {}), self._digest(name, networks or {})
        if not path.exists():
            n = self.settings.periods
            flight = fly(
                policy,
                stated_rivals(self.curve()),
                seed=HELD_OUT_SEED,
                periods=range(n),
                settings=self.settings.task,
                told=lambda done: self._told(f"{name}: {done} of {n} periods"),
            )
            with replacing(path) as neighbour:
                np.savez(neighbour, digest=np.array(digest), **asdict(flight))
        arrays = _arrays(path)
        if str(arrays.pop("digest", "")) != digest:
            allowed = f"must be a flight of this {name} with these settings"
            raise BadInput("flight", path.name, allowed, f"Delete it in {path.parent}: it is flown again.")
        return Flown(**{part.name: arrays[part.name] for part in fields(Flown)})

    def rows(self, names: Sequence[str], networks: Mapping[str, Path] | None = None) -> list[Row]:
        """A row for each policy, in the order given; what has not flown yet flies now."""
        reference = self.flown(REFERENCE).score
        rows = []
        for name in names:
            flight = self.flown(name, networks)
            rows.append(
                Row(
                    policy=name,
                    score=mean_interval(flight.score),
                    predicted=mean_interval(score(flight.worth, flight.spend, flight.limit)),
                    gain=paired_interval(flight.score, reference),
                    conversions=float(flight.conversions.mean()),
                    within=float((flight.spend <= flight.limit * flight.conversions).mean()),
                    spend_share=float((flight.spend / flight.budget).mean()),
                )
            )
        return rows

    def _digest(self, name: str, networks: Mapping[str, Path]) -> str:
        """Of a policy's name, its network and the settings."""
        made = {"bc": "bc.npz", "iql": "iql.npz", "ppo": "ppo.npz"}
        file = networks[name] if name in networks else self.folder / made[name] if name in made else None
        of_file = b"" if file is None else file.read_bytes()
        return hashlib.sha256(f"{name}\n{asdict(self.settings)}\n".encode() + of_file).hexdigest()

    def _policy(self, name: str, networks: Mapping[str, Path]) -> SeatPolicy:
        if name in networks:
            return Learned(Network.load(networks[name]), name)
        made: dict[str, Callable[[], SeatPolicy]] = {
            "fixed": Fixed,
            "step_pid": StepPid,
            "online_lp": lambda: OnlineLp(self.curve()),
            "dual": lambda: Dual(self.curve()),
            "bc": lambda: Learned(self.network("bc"), "bc"),
            "iql": lambda: Learned(self.network("iql"), "iql"),
            "ppo": lambda: Corrected(Dual(self.curve()), self.corrector(), "ppo"),
        }
        if name not in made:
            allowed = f"must be one of {', '.join(POLICIES)}, or the name of a network"
            raise BadInput("policy", name, allowed, "Name a network's file to add it.")
        return made[name]()


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with path.open("rb") as file, np.load(file) as found:
            return {name: found[name] for name in found.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        remedy = f"Delete it in {path.parent}: it is made again."
        raise BadInput("file", path.name, f"must be whole ({error})", remedy) from error


POLICIES = ("fixed", "step_pid", "online_lp", "dual", "bc", "iql", "ppo")


def markdown(rows: Sequence[Row]) -> str:
    """The table as text, with 95 % intervals in brackets."""
    lines = [
        f"| policy | score | score of predicted conversions | score less {REFERENCE}'s | conversions | "
        "within limit | spend / budget |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells = [row.policy, _cell(row.score), _cell(row.predicted)]
        cells += ["" if row.policy == REFERENCE else _cell(row.gain, "+")]
        cells += [f"{row.conversions:.1f}", f"{row.within:.0%}", f"{row.spend_share:.0%}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _cell(interval: Interval, sign: str = "") -> str:
    if interval.mean is None or interval.low is None or interval.high is None:
        return "-" if interval.mean is None else f"{interval.mean:{sign}.1f}"
    return f"{interval.mean:{sign}.1f} ({interval.low:{sign}.1f} to {interval.high:{sign}.1f})"
