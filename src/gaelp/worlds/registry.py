"""Policies by name or by checkpoint."""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from gaelp.agents.actions import ActionPolicy
from gaelp.agents.baselines import RandomPolicy
from gaelp.agents.controller import controller, network_actor
from gaelp.agents.experts import PICKED, PICKED_ON, ExpertsPolicy
from gaelp.agents.policy import Policy
from gaelp.core.errors import BadInput, MismatchError
from gaelp.core.names import require_known
from gaelp.core.words import CHANNEL_OF_LINE, LINES, Channel
from gaelp.market.file import MarketFile
from gaelp.platforms.reporting import Sight
from gaelp.worlds.runs import read_json, write_json
from gaelp.worlds.tuned import Tuned, tuned_for

POLICIES = (
    *("random", "fixed", "target_cpa", "pid", "pacing", "static_lines", "value", "controller"),
    "experts",
)
AGENTS = ("static_lines", "value", "controller")
"""Policies that learn a factor for each line, which a checkpoint holds; `controller` has a network too."""
CHOSEN_FROM = "experts:"
"""Before the names of other experts than `EXPERTS`, with commas between: `experts:runs/mine,pacing`."""
EXPERTS = ("value", "target_cpa", "pacing")
"""Policies that `experts` chooses among; the first is its default."""
CHECKPOINT = "checkpoint.json"
NETWORK = ".npz"
"""Suffix of a controller's network, which stands beside its checkpoint under the same name."""
_N_LANDINGS = 3
SAVED_MODEL = ".zip"
_HIGHEST_MULTIPLIER = 1000.0
_HIGHEST_WORTH = 1e6
_HIGHEST_PICKED = 1000.0
N = TypeVar("N", int, float)


def make_policy(name_or_path: str, file: MarketFile, *, others: Iterable[str] = ()) -> Callable[[], Policy]:
    """Find a policy and return a function that makes a fresh one, tuned for this market.

    Args:
        name_or_path: one of `POLICIES`, a checkpoint, a folder that holds a `checkpoint.json`, a model
            that Stable-Baselines3 saved, or several of these after `CHOSEN_FROM`.
        file: the market it will fly on.
        others: names that the caller answers itself, for the error that lists what is known.

    Raises:
        UnknownName: no policy is called that.
        BadInput: the checkpoint cannot be read or says something impossible.
        MismatchError: the checkpoint was trained on another market.
    """
    tuned = tuned_for(file)
    if _is_choice(name_or_path):
        return _experts(name_or_path, file)
    if Path(name_or_path).suffix == SAVED_MODEL and Path(name_or_path).is_file():
        from gaelp.agents.sb3 import sb3_actor  # brings torch

        new_actor = sb3_actor(Path(name_or_path))
        return lambda: ActionPolicy(tuned.pacing(), new_actor, policy_label(name_or_path))
    trained = trained_lines(name_or_path, file, others=others)
    if trained is not None:
        return lambda: trained.policy(tuned)
    untrained: dict[str, Callable[[], Policy]] = {
        "random": RandomPolicy,
        "fixed": tuned.fixed,
        "target_cpa": tuned.target_cpa,
        "pid": tuned.pid_policy,
        "pacing": tuned.pacing,
    }
    return untrained[name_or_path]


def _is_choice(name: str) -> bool:
    return name == "experts" or name.startswith(CHOSEN_FROM)


def files_of(name: str, file: MarketFile) -> list[Path]:
    """Files that a choice among policies reads when it is made; none for any other name."""
    if not _is_choice(name):
        return []
    found = []
    chosen = _chosen_from(name)
    for each in [*chosen, _knows_worth(chosen, file)]:
        if Path(each).suffix == SAVED_MODEL:
            found.append(Path(each))
        elif (trained := trained_lines(each, file)) is not None:
            path = committed_lines(file, each) if each in AGENTS else _checkpoint_path(each, POLICIES)
            found += [path, Path(trained.network)] if trained.network else [path]
    return found


def _chosen_from(name: str) -> list[str]:
    return name.removeprefix(CHOSEN_FROM).split(",") if name.startswith(CHOSEN_FROM) else list(EXPERTS)


def _experts(name: str, file: MarketFile) -> Callable[[], Policy]:
    """A maker of `experts`; lines are worth to it what `_knows_worth` has learnt."""
    names = _chosen_from(name)
    if not all(names) or any(_is_choice(each) or names.count(each) > 1 for each in names):
        allowed = "must name policies that are no choice themselves, each once"
        raise BadInput("policy", name, allowed, f"Write them as in {CHOSEN_FROM}{','.join(EXPERTS)}.")
    source = _knows_worth(names, file)
    experts = {each: make_policy(each, file) for each in names}
    learnt = trained_lines(source, file)
    assert learnt is not None
    picked = learnt.picked or (PICKED if file.sha256.startswith(PICKED_ON) else 0.0)
    if not picked:
        allowed = "must say how much better the platform's own bidder picks people (`picked`)"
        remedy = f"{_train_value(file)} As it is it flies alone."
        raise BadInput("checkpoint", source, allowed, remedy)
    worth_usd, late_hours = dict(learnt.worth_usd), click_delays(file)
    return lambda: ExpertsPolicy(experts, worth_usd, late_hours, picked)


def _knows_worth(names: Sequence[str], file: MarketFile) -> str:
    """The first expert that is a `value` with a worth for lines, else the market's committed one.

    Raises:
        BadInput: there is none.
    """
    committed = committed_lines(file, "value").is_file()
    for each in [*names, "value"]:
        if each != "value" or committed:
            trained = trained_lines(each, file)
            if trained is not None and trained.agent == "value" and any(dict(trained.worth_usd).values()):
                return each
    allowed = "must have a checkpoint of value among its policies: what lines are worth is learnt there"
    raise BadInput("policy", ",".join(names), allowed, _train_value(file))


def _train_value(file: MarketFile) -> str:
    train = f"`gaelp train --agent value --market {file.path.stem} --out runs/value`"
    return f"Train one anew: {train}, then name it: {CHOSEN_FROM}runs/value,target_cpa,pacing."


def click_delays(file: MarketFile) -> NDArray[np.int64]:
    """(n_lines,) hours after which an account is shown clicks (search) or impressions of each line."""
    delay = Sight(file.visibility).delay
    search = CHANNEL_OF_LINE == int(Channel.SEARCH)
    shown = np.where(search, delay["click"][CHANNEL_OF_LINE], delay["impression"][CHANNEL_OF_LINE])
    return shown.astype(np.int64)


class TrainedLines(NamedTuple):
    """What a checkpoint holds: whose it is, and what it learnt, sorted by name; it can be hashed.

    Attributes:
        agent: one of `AGENTS`. multiplier: a factor for each line.
        landing: the landing page of each line. settings: of the level, see `Tuned.value`.
        worth_usd: of a click or of 1000 impressions of each line.
        network: path of what the controller corrects by; empty for the others.
        digest: of what the network corrects, see `belonging`.
        picked: of the market, see `ExpertsPolicy`; 0 where it was not measured.
    """

    agent: str
    multiplier: tuple[tuple[str, float], ...]
    landing: tuple[tuple[str, int], ...] = ()
    settings: tuple[tuple[str, float], ...] = ()
    worth_usd: tuple[tuple[str, float], ...] = ()
    network: str = ""
    digest: str = ""
    picked: float = 0.0

    def policy(self, tuned: Tuned) -> Policy:
        """The policy, on the tuned values of its market."""
        if not self.network:
            return self.base(tuned)
        return controller(self.base(tuned), network_actor(Path(self.network), self.digest))

    def base(self, tuned: Tuned) -> Policy:
        """The policy without its network."""
        if self.agent == "static_lines":
            return tuned.pacing(dict(self.multiplier))
        return tuned.value(
            dict(self.multiplier), dict(self.landing), dict(self.settings), dict(self.worth_usd)
        )

    def learnt(self) -> dict[str, Any]:
        """What a checkpoint of the same keeps beside the factors."""
        return {
            "landing": dict(self.landing),
            "settings": dict(self.settings),
            "worth_usd": dict(self.worth_usd),
        }


def trained_lines(name_or_path: str, file: MarketFile, *, others: Iterable[str] = ()) -> TrainedLines | None:
    """What the checkpoint of a policy holds now; None where the policy needs none.

    Args, errors: as `make_policy`.
    """
    if (name_or_path in POLICIES and name_or_path not in AGENTS) or _is_choice(name_or_path):
        return None
    if Path(name_or_path).suffix == SAVED_MODEL and Path(name_or_path).is_file():
        return None
    if name_or_path in AGENTS:
        path = committed_lines(file, name_or_path)
        if not path.is_file():
            raise BadInput(
                "policy",
                name_or_path,
                f"needs {path.name} beside the market file, or a checkpoint's path",
                f"Train one: `gaelp train --agent {name_or_path} --out runs/lines`, then name runs/lines.",
            )
    else:
        path = _checkpoint_path(name_or_path, sorted({*POLICIES, *others}))
    found = read_checkpoint(path, file)
    factors, landing, settings, worth_usd = (
        tuple(sorted(found[name].items())) for name in ("line_multiplier", "landing", "settings", "worth_usd")
    )
    network = str(path.with_suffix(NETWORK)) if found["agent"] == "controller" else ""
    digest = belonging(found) if network else ""
    picked = float(found.get("picked", 0.0))
    return TrainedLines(found["agent"], factors, landing, settings, worth_usd, network, digest, picked)


def belonging(found: Mapping[str, Any]) -> str:
    """Digest of what a controller's checkpoint says: its network belongs to no other."""
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()


def policy_label(name_or_path: str, reserved: Iterable[str] = POLICIES) -> str:
    """What to call a policy in a table: its name, or its checkpoint's folder or file name.

    Args:
        name_or_path: as typed.
        reserved: names that no checkpoint may go by; one whose folder is called that goes by its path.

    >>> policy_label("pacing"), policy_label("runs/lines"), policy_label("runs/a/checkpoint.json")
    ('pacing', 'lines', 'a')
    >>> policy_label("runs/pacing")
    'runs/pacing'
    """
    if _is_choice(name_or_path):
        return name_or_path
    path = Path(name_or_path)
    short = path.parent.name if path.name == CHECKPOINT and path.parent.name else path.stem
    return name_or_path if short in reserved else short


def committed_lines(file: MarketFile, agent: str = "static_lines") -> Path:
    """Where the committed lines of an agent stand for a market."""
    return file.path.with_suffix(f".{agent}.json")


def write_checkpoint(
    place: str | Path,
    file: MarketFile,
    line_multiplier: Mapping[str, float],
    training: Mapping[str, Any] | None = None,
    *,
    agent: str = "static_lines",
) -> Path:
    """Write the checkpoint of an agent that learnt a factor for each line.

    Args:
        place: a `.json` file, or a folder to hold `checkpoint.json`.
        file: the market it was trained on.
        line_multiplier: line name -> factor on the paced bid or target.
        training: what a resume needs and how it went, kept beside the rest; and, but for static_lines, its
            `landing`, `settings` and `worth_usd`.
        agent: one of `AGENTS`.

    Returns:
        The file written.
    """
    path = Path(place)
    if path.suffix != ".json":
        path = path / CHECKPOINT
    write_json(path, checkpoint(file, _checked_multiplier(path, line_multiplier), training, agent=agent))
    return path


def checkpoint(
    file: MarketFile,
    line_multiplier: Mapping[str, float],
    training: Mapping[str, Any] | None = None,
    *,
    agent: str = "static_lines",
) -> dict[str, Any]:
    """The content of a checkpoint; see `write_checkpoint`."""
    return {
        "agent": agent,
        "market": file.name,
        "market_sha256": file.sha256,
        "line_multiplier": dict(line_multiplier),
        **(training or {}),
    }


def refuse_unless_ours(out: Path, agent: str) -> None:
    """Make the folder of a run; refuse a place that is none, or that holds what another agent learnt.

    Raises:
        BadInput: either.
    """
    if out.exists() and not out.is_dir():
        raise BadInput("out", str(out), "must be a folder", "Name a folder to keep the run in.")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(
            "out", str(out), f"must be a folder that can be made ({error.strerror})", "Name another."
        ) from error
    if not os.access(out, os.W_OK):
        raise BadInput("out", str(out), "must be a folder that can be written to", "Name another.")
    path = out / CHECKPOINT
    if path.is_file() and read_json(path).get("agent") != agent:
        raise BadInput("out", str(out), f"holds what another agent than {agent} learnt", "Name another.")


def read_checkpoint(path: Path, file: MarketFile) -> dict[str, Any]:
    """Read the checkpoint of one of `AGENTS`, with `line_multiplier` checked.

    Raises:
        BadInput: it cannot be read or says something impossible.
        MismatchError: it was trained on another market than `file`.
    """
    data = read_json(path)
    if not {"agent", "market_sha256", "line_multiplier"} <= data.keys():
        allowed = "must have agent, market_sha256 and line_multiplier"
        raise BadInput("checkpoint", str(path), allowed, "Train it again by `gaelp train`.")
    require_known("agent", str(data["agent"]), AGENTS)
    trained_on = str(data["market_sha256"])
    if trained_on != file.sha256:
        raise MismatchError(
            "checkpoint",
            f"{path.name} for market {data.get('market', '')} {trained_on[:12]}",
            f"must be trained on {file.name} {file.sha256[:12]}",
            "Train it on this market, or name the market it knows.",
        )
    if "picked" in data:
        _checked(path, "settings", {"picked": data["picked"]}, ("picked",), 0, _HIGHEST_PICKED, float)
    lines = [line.name for line in LINES]
    return data | {
        "line_multiplier": _checked_multiplier(path, data["line_multiplier"]),
        "landing": _checked(path, "landing", data.get("landing", {}), lines, 0, _N_LANDINGS - 1, int),
        "worth_usd": _checked(path, "worth_usd", data.get("worth_usd", {}), lines, 0, _HIGHEST_WORTH, float),
        "settings": _checked(
            path, "settings", data.get("settings", {}), ("step", "spend_share"), 0, 1, float
        ),
    }


def _checkpoint_path(name_or_path: str, known: Sequence[str]) -> Path:
    path = Path(name_or_path)
    if path.is_dir():
        if not (path / CHECKPOINT).is_file():
            raise BadInput(
                "policy",
                name_or_path,
                f"must hold a {CHECKPOINT}",
                "Name the folder that `gaelp train --out` wrote.",
            )
        return path / CHECKPOINT
    if path.is_file():
        return path
    if path.suffix == ".json" or len(path.parts) > 1:
        allowed = "must be a checkpoint that exists"
        raise BadInput("policy", name_or_path, allowed, f"Check the path, or name one of {', '.join(known)}.")
    require_known("policy", name_or_path, known)
    raise AssertionError(name_or_path)  # every known name was answered before


def _checked_multiplier(path: Path, multiplier: Any) -> dict[str, float]:
    lines = [line.name for line in LINES]
    return _checked(path, "line_multiplier", multiplier, lines, 0, _HIGHEST_MULTIPLIER, float)


def _checked(
    path: Path, name: str, table: Any, known: Sequence[str], low: float, high: float, kind: type[N]
) -> dict[str, N]:
    where, what = f"{path.name}: {name}", "setting" if name == "settings" else "line"
    if not isinstance(table, Mapping):
        raise BadInput(where, table, f"must be a table of {what} names", "Train it again by `gaelp train`.")
    found = {}
    for key, value in table.items():
        require_known(f"{where}: {what}", key, known)
        number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
        if not (number and low <= value <= high and kind(value) == value):
            allowed = f"must be {'a whole number' if kind is int else 'a number'} from {low:g} to {high:g}"
            raise BadInput(f"{where}.{key}", value, allowed, "Correct it or train again.")
        found[str(key)] = kind(value)
    return found
