"""Market files: read, checked, compiled into the records that kernels run on.

A market file is TOML with `[market] [status_quo] [[rivals]] [parameters] [targets] [visibility] [spread]
[response]` and, where it `extends` another file, only what differs from it. Everything is checked when it is
read: an unknown key is answered with the nearest known one, an impossible value with its allowed range.
"""

import hashlib
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from gaelp.core.errors import MarketFileError
from gaelp.core.names import nearest
from gaelp.core.random import NORMAL_TABLE, named_seed
from gaelp.market.parameters import (
    ACTIVITIES,
    AUCTIONS,
    BY_NAME,
    CHANNELS,
    FATIGUE_STEP,
    MAX_SEGMENTS,
    N_FATIGUE,
    PARAMETERS,
    RESPONSE_AXES,
    RULES,
    axis_names,
    response_shape,
    shape_of,
)
from gaelp.market.rivals import STRATEGIES
from gaelp.market.tables import table

Floats = NDArray[np.float64]

_MARKET_KEYS: dict[str, type] = {
    "name": str,
    "product": str,
    "advertiser": str,
    "currency": str,
    "ltv_usd": float,
    "cac_target_usd": float,
    "people": int,
    "daily_budget_usd": float,
    "start": str,
    "segments": list,
    "hour_table": str,
}
_RIVAL_RANGES = {
    "strength": (0.0, 10.0),
    "prior": (-5.0, 5.0),
    "quality": (0.05, 5.0),
    "price_index": (0.1, 10.0),
    "budget_usd_per_1000": (0.0, 1e5),
    "learning_rate": (0.0, 1.0),
    "exploration": (0.0, 1.0),
}
_SECTIONS = (
    "extends market auctions status_quo rivals parameters targets visibility spread queries reference"
    " response"
).split()
_REPLACED_WHOLE = ("value", "targets", "reference", "queries", "spread", "response")
"""Tables that a file which extends another states in full or not at all."""
RESPONSE_RANGE = (0.05, 20.0)
"""How far a response table may be from the parameters: least and most relative odds."""
_PARAMETER_KEYS = "value unit range strength source solved".split()
_STRENGTHS = ("A", "B", "C", "assumed")
_SIGHT = ("user", "aggregate", "never")
_EVENTS = ("impression", "click", "visit", "conversion")


@dataclass(frozen=True, kw_only=True)
class Rival:
    """One rival as the market file states it; budgets are USD a day per 1,000 people."""

    name: str
    strategy: str
    strength: float
    prior: float
    quality: float
    price_index: float
    budget_usd_per_1000: float
    learning_rate: float
    exploration: float


@dataclass(frozen=True, kw_only=True)
class Target:
    """An emergent statistic and the band it must fall into, with the band's source."""

    name: str
    low: float
    high: float
    unit: str
    source: str


@dataclass(frozen=True, kw_only=True)
class Stated:
    """What a market file says about one parameter."""

    value: Floats
    low: float
    high: float
    unit: str
    strength: str
    source: str
    solved: bool = False


@dataclass(frozen=True, kw_only=True)
class Response:
    """What the click parameters do not say of a seat's own ads: a table of relative odds (searches: chances).

    `value` has one axis per name of `over`, some of `RESPONSE_AXES`; the others make no difference.
    """

    over: tuple[str, ...]
    value: Floats

    def at(self, kind: str, *codes: NDArray[np.integer]) -> Floats:
        """(n,) cells of the table, at an array of n codes for each axis of `RESPONSE_AXES[kind]`."""
        table = self.over_all(kind)
        found: Floats = table[tuple(np.minimum(c, n - 1) for c, n in zip(codes, table.shape, strict=True))]
        return found

    def over_all(self, kind: str) -> Floats:
        """The table over every axis of `RESPONSE_AXES[kind]`; those not in `over` have length 1."""
        axes = RESPONSE_AXES[kind]
        value = self.value.transpose([self.over.index(axis) for axis in axes if axis in self.over])
        return value.reshape([self.value.shape[self.over.index(a)] if a in self.over else 1 for a in axes])


@dataclass(frozen=True, kw_only=True)
class MarketFile:
    """A checked market: the facts, its parameters as stated, and the rest of the file.

    `tracking` is never written in a file: it is False while a site's tag is down, in worlds that change.
    """

    path: Path
    sha256: str
    name: str
    product: str
    advertiser: str
    currency: str
    ltv_usd: float
    cac_target_usd: float
    people: int
    daily_budget_usd: float
    start: date
    segments: tuple[str, ...]
    hour_table: str
    status_quo_multiplier: float
    rivals: tuple[Rival, ...]
    parameters: dict[str, Stated]
    targets: dict[str, Target] = field(default_factory=dict)
    visibility: dict[str, dict[str, tuple[str, float]]] = field(default_factory=dict)
    spread: dict[str, float] = field(default_factory=dict)
    queries: dict[str, tuple[str, ...]] = field(default_factory=dict)
    reference_price_usd: dict[str, float] = field(default_factory=dict)
    first_price: tuple[str, ...] = ("display",)
    response: dict[str, Response] = field(default_factory=dict)
    tracking: bool = True

    @property
    def budget_per_person_usd(self) -> float:
        """Daily budget a person; every panel's budget is this times its people."""
        return self.daily_budget_usd / self.people

    def with_values(self, values: Mapping[str, Floats | float]) -> "MarketFile":
        """A copy in which some parameters have other values (checked against their ranges)."""
        stated = dict(self.parameters)
        for name, value in values.items():
            if name not in BY_NAME:
                raise _unknown(self.path, "parameters", name, BY_NAME)
            old = stated[name]
            new = np.broadcast_to(np.asarray(value, float), old.value.shape).copy()
            _check_range(self.path, f"parameters.{name}", new, old.low, old.high)
            _check_shares(self.path, name, new)
            stated[name] = replace(old, value=new)
        return replace(self, parameters=stated)


def load(path: str | Path) -> MarketFile:
    """Read and check a market file.

    Args:
        path: a `.toml` file; `extends` inside it is relative to it.

    Raises:
        MarketFileError: the file is missing, is no TOML, or says something that is not allowed; one line
            names the place, the value, what is allowed and what to do.
    """
    path = Path(path)
    raw, digest = _read(path, ())
    return _checked(path, raw, digest)


def lineage(path: str | Path) -> list[Path]:
    """A readable market file and those that it extends, nearest first, without links."""
    found = [Path(path).resolve()]
    while (parent := tomllib.loads(found[-1].read_text()).get("extends")) is not None:
        found.append((found[-1].parent / str(parent)).resolve())
    return found


def _read(path: Path, seen: tuple[Path, ...]) -> tuple[dict[str, Any], str]:
    if path in seen:
        raise MarketFileError("extends", str(path), "must not lead back to itself", "Remove one `extends`.")
    try:
        content = path.read_bytes()
    except OSError:
        others = sorted(p.name for p in path.parent.glob("*.toml")) if path.parent.is_dir() else []
        hint = f"Files there: {', '.join(others)}." if others else "Check the path."
        raise MarketFileError("market", str(path), "must be a readable market file", hint) from None
    try:
        raw = tomllib.loads(content.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise MarketFileError("market", str(path), f"must be TOML ({error})", "Mend that line.") from None
    digest = hashlib.sha256(content).hexdigest()
    parent = raw.pop("extends", None)
    if parent is not None:
        base, base_digest = _read(path.parent / str(parent), (*seen, path))
        raw = _merged(base, raw)
        digest = hashlib.sha256((base_digest + digest).encode()).hexdigest()
    return raw, digest


def _merged(base: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """Own keys over the base's, section by section; a parameter keeps what its own entry leaves out."""
    out = dict(base)
    for key, value in own.items():
        if isinstance(value, dict) and isinstance(out.get(key), dict) and key not in _REPLACED_WHOLE:
            out[key] = _merged(out[key], value)
        else:
            out[key] = value
    return out


def _unknown(path: Path, section: str, key: str, known: Any) -> MarketFileError:
    near = nearest(key, known)
    remedy = f"Did you mean {near!r}?" if near else f"Known: {', '.join(sorted(known))}."
    return MarketFileError(f"{path.name}: {section}", key, "is not a key of this section", remedy)


def _need_section(path: Path, raw: dict[str, Any], name: str) -> dict[str, Any]:
    section = raw.get(name)
    if not isinstance(section, dict):
        raise MarketFileError(f"{path.name}: [{name}]", section, "must be given", f"Add a [{name}] table.")
    return section


def _table(path: Path, where: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise MarketFileError(f"{path.name}: {where}", value, "must be a table", "Write it as [table].")
    return value


def _number(path: Path, where: str, value: Any, low: float = -math.inf, high: float = math.inf) -> float:
    good = isinstance(value, int | float) and not isinstance(value, bool)
    good = good and abs(value) <= 1e300  # false for NaN too; safe for integers of any size
    if not good or not low <= value <= high:
        allowed = f"must be a number from {low:g} to {high:g}" if math.isfinite(low) else "must be a number"
        raise MarketFileError(f"{path.name}: {where}", value, allowed, "Correct it in the market file.")
    return float(value)


def _check_shares(path: Path, name: str, value: Floats) -> None:
    total = value.sum(axis=-1)
    if name == "lag_share" and abs(total - 1.0) > 1e-6:
        raise MarketFileError(f"{path.name}: {name}", float(total), "must add up to 1", "Correct a share.")
    if name in ("segment_share", "floor_share", "query_share") and not (total > 0.0).all():
        raise MarketFileError(f"{path.name}: {name}", 0.0, "must add up to more than 0", "Give one a share.")


def _check_range(path: Path, where: str, value: Floats, low: float, high: float) -> None:
    bad = ~((value >= low) & (value <= high))
    if bad.any():
        worst = float(value[bad].flat[0]) if value.ndim else float(value)
        raise MarketFileError(
            f"{path.name}: {where}", worst, f"must be from {low:g} to {high:g}", "Correct the value."
        )


def _checked(path: Path, raw: dict[str, Any], digest: str) -> MarketFile:
    for key in raw:
        if key not in _SECTIONS:
            raise _unknown(path, "top level", key, _SECTIONS)
    market = _need_section(path, raw, "market")
    facts = _facts(path, market)
    segments = facts["segments"]
    parameters = _parameters(path, _need_section(path, raw, "parameters"), segments)
    status_quo = _need_section(path, raw, "status_quo")
    for key in status_quo:
        if key != "multiplier":
            raise _unknown(path, "status_quo", key, ["multiplier"])
    return MarketFile(
        path=path,
        sha256=digest,
        **facts,
        status_quo_multiplier=_number(
            path, "status_quo.multiplier", status_quo.get("multiplier"), 0.0, 100.0
        ),
        rivals=_rivals(path, raw.get("rivals")),
        parameters=parameters,
        targets=_targets(path, _table(path, "targets", raw.get("targets", {}))),
        visibility=_visibility(path, _table(path, "visibility", raw.get("visibility", {}))),
        spread=_spread(path, _table(path, "spread", raw.get("spread", {}))),
        queries=_queries(path, _table(path, "queries", raw.get("queries", {}))),
        reference_price_usd={
            k: _number(path, f"reference.{k}", v, 0.0, 1e6)
            for k, v in _table(path, "reference", raw.get("reference", {})).items()
        },
        first_price=_first_price(path, _table(path, "auctions", raw.get("auctions", {}))),
        response=_response(path, _table(path, "response", raw.get("response", {})), segments),
    )


def _first_price(path: Path, raw: dict[str, Any]) -> tuple[str, ...]:
    for key in raw:
        if key != "first_price":
            raise _unknown(path, "auctions", key, ["first_price"])
    kinds = raw.get("first_price", ["display"])
    if not isinstance(kinds, list) or any(kind not in AUCTIONS for kind in kinds):
        allowed = f"must list auctions among {', '.join(AUCTIONS)}"
        raise MarketFileError(
            f"{path.name}: auctions.first_price", kinds, allowed, "The rest is second price."
        )
    return tuple(kinds)


def _response(path: Path, raw: dict[str, Any], segments: tuple[str, ...]) -> dict[str, Response]:
    found = {}
    for kind, entry in raw.items():
        where = f"response.{kind}"
        if kind not in RESPONSE_AXES:
            raise _unknown(path, "response", kind, RESPONSE_AXES)
        for key in _table(path, where, entry):
            if key not in ("over", "value"):
                raise _unknown(path, where, key, ["over", "value"])
        over, axes = entry.get("over"), RESPONSE_AXES[kind]
        named = isinstance(over, list) and over and all(axis in axes for axis in over)
        if not named or len(set(over)) != len(over):
            allowed = f"must list some of {', '.join(axes)}, each once"
            raise MarketFileError(f"{path.name}: {where}.over", over, allowed, "Name the table's axes.")
        value = _array(path, f"{where}.value", entry.get("value"), [axis_names(a, segments) for a in over])
        _check_range(path, f"{where}.value", value, *RESPONSE_RANGE)
        found[kind] = Response(over=tuple(over), value=value)
    return found


def _queries(path: Path, raw: dict[str, Any]) -> dict[str, tuple[str, ...]]:
    for name, texts in raw.items():
        if not (isinstance(texts, list) and texts and all(isinstance(text, str) for text in texts)):
            raise MarketFileError(f"{path.name}: queries.{name}", texts, "must list texts", "Give some.")
    return {name: tuple(texts) for name, texts in raw.items()}


def _facts(path: Path, market: dict[str, Any]) -> dict[str, Any]:
    for key in market:
        if key not in _MARKET_KEYS:
            raise _unknown(path, "market", key, _MARKET_KEYS)
    facts: dict[str, Any] = {}
    for key, kind in _MARKET_KEYS.items():
        if key not in market:
            raise MarketFileError(f"{path.name}: market.{key}", None, "must be given", f"Add `{key} = ...`.")
        value = market[key]
        if kind is float:
            value = _number(path, f"market.{key}", value, 0.01, 1e9)
        elif kind is int:
            value = int(_number(path, f"market.{key}", value, 1, 100_000_000))
        elif not isinstance(value, kind):
            allowed = f"must be a {kind.__name__}"
            raise MarketFileError(f"{path.name}: market.{key}", value, allowed, "Correct its type.")
        facts[key] = value
    names = [name for name in facts["segments"] if isinstance(name, str) and name.isidentifier()]
    if len(set(names)) != len(facts["segments"]) or not 1 <= len(names) <= MAX_SEGMENTS:
        raise MarketFileError(
            f"{path.name}: market.segments",
            facts["segments"],
            f"must name 1 to {MAX_SEGMENTS} different segments, one word each",
            "The first one is where trigger events lead.",
        )
    facts["segments"] = tuple(map(str, facts["segments"]))
    try:
        facts["start"] = date.fromisoformat(facts["start"])
    except ValueError:
        raise MarketFileError(
            f"{path.name}: market.start", facts["start"], "must be a date", "Write YYYY-MM-DD."
        ) from None
    table(facts["hour_table"])
    return facts


def _parameters(path: Path, raw: dict[str, Any], segments: tuple[str, ...]) -> dict[str, Stated]:
    for name in raw:
        if name not in BY_NAME:
            raise _unknown(path, "parameters", name, BY_NAME)
    stated = {}
    for parameter in PARAMETERS:
        where = f"parameters.{parameter.name}"
        entry = raw.get(parameter.name)
        if not isinstance(entry, dict):
            raise MarketFileError(
                f"{path.name}: {where}",
                entry,
                "must be given",
                f"It is the {parameter.about}; add its table.",
            )
        for key in entry:
            if key not in _PARAMETER_KEYS:
                raise _unknown(path, where, key, _PARAMETER_KEYS)
        for key in ("value", "unit", "range", "strength", "source"):
            if key not in entry:
                raise MarketFileError(f"{path.name}: {where}.{key}", None, "must be given", "Add it.")
        span = entry["range"]
        if not (isinstance(span, list) and len(span) == 2):
            raise MarketFileError(f"{path.name}: {where}.range", span, "must be [low, high]", "Correct it.")
        low, high = (_number(path, f"{where}.range", bound) for bound in span)
        if entry["strength"] not in _STRENGTHS:
            raise MarketFileError(
                f"{path.name}: {where}.strength",
                entry["strength"],
                f"must be one of {_STRENGTHS}",
                "Pick one.",
            )
        axes = [axis_names(axis, segments) for axis in parameter.axes]
        value = _array(path, where, entry["value"], axes)
        _check_range(path, where, value, low, high)
        _check_shares(path, parameter.name, value)
        stated[parameter.name] = Stated(
            value=value,
            low=low,
            high=high,
            unit=str(entry["unit"]),
            strength=entry["strength"],
            source=str(entry["source"]),
            solved=bool(entry.get("solved", False)),
        )
    return stated


def _array(path: Path, where: str, value: Any, axes: list[tuple[str, ...]]) -> Floats:
    if not axes:
        return np.array(_number(path, where, value))
    names = axes[0]
    if isinstance(value, list):
        if len(value) != len(names):
            allowed = f"must have {len(names)} entries ({', '.join(names)})"
            raise MarketFileError(f"{path.name}: {where}", value, allowed, "Give one each.")
        value = dict(zip(names, value, strict=True))
    if not isinstance(value, dict):
        allowed = f"must be a table over {', '.join(names)}"
        raise MarketFileError(f"{path.name}: {where}", value, allowed, "Give one value each.")
    for key in value:
        if key not in names:
            raise _unknown(path, where, key, names)
    for key in names:
        if key not in value:
            raise MarketFileError(f"{path.name}: {where}.{key}", None, "must be given", "Add it.")
    return np.array([_array(path, f"{where}.{key}", value[key], axes[1:]) for key in names])


def _rivals(path: Path, raw: Any) -> tuple[Rival, ...]:
    if not isinstance(raw, list) or not raw:
        raise MarketFileError(f"{path.name}: rivals", raw, "must list at least one rival", "Add [[rivals]].")
    found = []
    for i, entry in enumerate(raw):
        _table(path, f"rivals[{i}]", entry)
        known = ["name", "strategy", *_RIVAL_RANGES]
        for key in entry:
            if key not in known:
                raise _unknown(path, f"rivals[{i}]", key, known)
        if entry.get("strategy") not in STRATEGIES:
            near = nearest(str(entry.get("strategy")), STRATEGIES)
            remedy = f"Did you mean {near!r}?" if near else "Choose one of these."
            raise MarketFileError(
                f"{path.name}: rivals[{i}].strategy",
                entry.get("strategy"),
                f"must be one of {', '.join(STRATEGIES)}",
                remedy,
            )
        numbers = {
            key: _number(path, f"rivals[{i}].{key}", entry.get(key), low, high)
            for key, (low, high) in _RIVAL_RANGES.items()
        }
        found.append(Rival(name=str(entry.get("name", f"rival {i}")), strategy=entry["strategy"], **numbers))
    if len(found) > 56:
        raise MarketFileError(f"{path.name}: rivals", len(found), "must be at most 56", "Remove some.")
    return tuple(found)


def _targets(path: Path, raw: dict[str, Any]) -> dict[str, Target]:
    found = {}
    for name, entry in raw.items():
        for key in _table(path, f"targets.{name}", entry):
            if key not in ("low", "high", "unit", "source"):
                raise _unknown(path, f"targets.{name}", key, ["low", "high", "unit", "source"])
        found[name] = Target(
            name=name,
            low=_number(path, f"targets.{name}.low", entry.get("low")),
            high=_number(path, f"targets.{name}.high", entry.get("high")),
            unit=str(entry.get("unit", "")),
            source=str(entry.get("source", "")),
        )
    return found


def _visibility(path: Path, raw: dict[str, Any]) -> dict[str, dict[str, tuple[str, float]]]:
    found: dict[str, dict[str, tuple[str, float]]] = {}
    for channel, events in raw.items():
        if channel not in CHANNELS:
            raise _unknown(path, "visibility", channel, CHANNELS)
        found[channel] = {}
        for event, cell in _table(path, f"visibility.{channel}", events).items():
            if event not in _EVENTS:
                raise _unknown(path, f"visibility.{channel}", event, _EVENTS)
            sight = cell.get("sight") if isinstance(cell, dict) else None
            if sight not in _SIGHT:
                raise MarketFileError(
                    f"{path.name}: visibility.{channel}.{event}", cell, f"must say sight = one of {_SIGHT}",
                    "Add also delay_hours.",
                )  # fmt: skip
            delay = _number(path, f"visibility.{channel}.{event}", cell.get("delay_hours", 0), 0, 8760)
            found[channel][event] = (sight, delay)
    return found


def _spread(path: Path, raw: dict[str, Any]) -> dict[str, float]:
    known = [*BY_NAME, "rival_strength", "rival_budget", "rival_prior"]
    for name in raw:
        if name not in known:
            raise _unknown(path, "spread", name, known)
    return {name: _number(path, f"spread.{name}", value, 0.0, 1.5) for name, value in raw.items()}


def compile_rules(market: MarketFile, world_seed: int) -> np.void:
    """Compile one world's parameters into the record that kernels read.

    Args:
        market: a checked market, possibly with a world's own values.
        world_seed: names the world; all of its draws derive from it.
    """
    rules = np.zeros((), RULES)
    for parameter in PARAMETERS:
        value = market.parameters[parameter.name].value
        padded = np.zeros(shape_of(parameter))
        padded[tuple(slice(0, n) for n in value.shape)] = value
        rules[parameter.name] = padded
    value_of = {name: stated.value for name, stated in market.parameters.items()}
    rules["n_segments"] = len(market.segments)
    rules["ltv_micros"] = market.ltv_usd * 1e6
    rules["tracking"] = market.tracking
    rules["first_price"] = [kind in market.first_price for kind in AUCTIONS]
    rules["world_key"] = np.uint64(named_seed("world", world_seed))
    rules["start_hour_of_week"] = market.start.weekday() * 24
    rules["start_day_of_year"] = market.start.timetuple().tm_yday - 1
    rules["hour_rate"] = _hour_rate(market)
    share = value_of["segment_share"] / value_of["segment_share"].sum()
    rules["segment_edge"][: len(share)] = np.cumsum(share)
    query = value_of["query_share"]
    rules["query_edge"] = np.cumsum(query / query.sum(axis=1, keepdims=True), axis=1)
    floors = value_of["floor_share"]
    rules["floor_edge"] = np.cumsum(floors / floors.sum())
    for a in range(len(AUCTIONS)):
        rules["bid_noise"][a] = np.exp(value_of["bid_sigma"][a] * NORMAL_TABLE)
        rules["common_noise"][a] = np.exp(value_of["common_sigma"][a] * NORMAL_TABLE)
    for keep, half_life in (
        ("goodwill_keep", "goodwill_half_life_days"),
        ("views_keep", "fatigue_half_life_days"),
        ("urgency_keep", "urgency_half_life_days"),
    ):
        rules[keep] = 0.5 ** (1.0 / value_of[half_life])
    persistence = value_of["need_persistence"]
    rules["need_noise"] = value_of["need_sigma"] * math.sqrt(0.51 * (1.0 - persistence**2))
    rules["fatigue"] = (np.arange(N_FATIGUE) / FATIGUE_STEP + 1.0) ** float(value_of["fatigue_exponent"])
    generator = np.random.default_rng(named_seed("regions", market.name))
    rules["region_need"] = np.exp(float(value_of["region_sigma"]) * generator.standard_normal(100))
    size = 1.0 / np.arange(1, 101) ** 0.7
    rules["region_edge"] = np.cumsum(size / size.sum())
    rules["responds"] = bool(market.response)
    for kind, axes in RESPONSE_AXES.items():
        table = np.ones(response_shape(kind))
        if kind in market.response:
            known = tuple(slice(len(axis_names(axis, market.segments))) for axis in axes)
            table[known] = market.response[kind].over_all(kind)
        rules[f"{kind}_response"] = table
    return cast(np.void, rules[()])


def _hour_rate(market: MarketFile) -> Floats:
    """(6, 168) factor that turns a daily rate into the chance of an hour, by activity."""
    shape = table(market.hour_table)
    tilt = market.parameters["hour_tilt"].value
    tilted = 1.0 + tilt[:, None] * (shape[None, :] - 1.0)
    assert tilted.shape == (len(ACTIVITIES), 168)
    return tilted / 24.0
