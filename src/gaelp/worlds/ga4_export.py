"""A simulated world as the files that a company would hand in: GA4's daily tables and its ad reports.

    world = plain_worlds(file, 1, seed)[0]
    export_ga4(folder, world, policy, n_people=10_000, days=90, options=Ga4Options())

    <folder>/events/     GA4's BigQuery export: events_YYYYMMDD.json.gz for each day of the property, and the
                         last day as events_intraday_..., with what Google does not fill in by then left out
    <folder>/ads.csv     what the ad platforms report, by hour and line
    <folder>/truth.json  the market's parameters: for judging a calibration, never for making one

Events are read and let go day by day, so that a long flight needs no more memory than a day of it and what
GA4 remembers of each cookie. The warm-up is lived too: cookies are older than the export.
"""

import csv
from collections import Counter
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from gaelp.agents.baselines import FixedPolicy
from gaelp.agents.policy import Policy
from gaelp.core.clock import SECONDS_PER_HOUR
from gaelp.core.errors import BadInput
from gaelp.core.names import require_known
from gaelp.core.random import named_seed
from gaelp.core.words import CHANNEL_OF_LINE, LINES, Channel, TouchKind
from gaelp.market.file import MarketFile
from gaelp.market.market import Market, World
from gaelp.platforms.reporting import Sight, seen_events
from gaelp.worlds.flight import WARM_UP_DAYS, Flight, Tick, fly, make_market, warm_up
from gaelp.worlds.ga4_rows import (
    Came,
    Cookie,
    Property,
    Row,
    Session,
    came_by,
    credited,
    moved,
    token,
)
from gaelp.worlds.ga4_tables import FORMATS, Tables
from gaelp.worlds.reports import Watched
from gaelp.worlds.runs import write_json
from gaelp.worlds.visible import event_rows

EVENTS_FOLDER, ADS, TRUTH = "events", "ads.csv", "truth.json"
US_PER_HOUR: Final = SECONDS_PER_HOUR * 1_000_000
UNTAGGED: Final = 0.04
"""Share of search clicks whose address lost its tags, so that GA4 says `(not set)`. Assumed."""
FLAWS: Final = {"sale_again": 0.05, "row_again": 0.005, "late": 0.02, "email": 0.3}
"""Shares, assumed: of sales told twice, of rows told twice, of sessions told days late, of sign-ups whose
page has the address in its own."""
LATEST_US: Final = 72 * US_PER_HOUR
"""Google takes events that come so late, and no later."""
ENGAGED_MEDIAN_US, ENGAGED_SIGMA = 40e6, 1.2
_ADS_COLUMNS = ("date", "hour", "channel", "line", "impressions", "clicks", "cost_micros", "conversions")
_COUNTED = ("sessions", "refused", "purchases", "purchases_micros")
_EVER = np.iinfo(np.int32).max


@dataclass(frozen=True, kw_only=True)
class Ga4Options:
    """How a world is exported.

    Attributes:
        format: one of `FORMATS`. gzip: whether text is compressed.
        time_zone: of the property and the ad accounts, an IANA name; the market's hours are UTC.
        flaws: repeat sales and rows, tell some late, put addresses into pages, and credit direct visits to
            the source before them, as Google does.
    """

    format: str = "ndjson"
    gzip: bool = True
    time_zone: str = "America/New_York"
    flaws: bool = False

    def __post_init__(self) -> None:
        require_known("format", self.format, FORMATS)
        try:
            ZoneInfo(self.time_zone)
        except (KeyError, ValueError, OSError):
            remedy = "Use a name such as Europe/Berlin, or UTC."
            raise BadInput("time_zone", self.time_zone, "must be an IANA time zone", remedy) from None

    @property
    def zone(self) -> ZoneInfo:
        """The zone itself."""
        return ZoneInfo(self.time_zone)


class Recorder:
    """Reads a seat's visible events at each midnight and empties their log; a `tick` for `fly`.

    Args:
        market: worlds made with `event_rows`, at hour 0. world, seat: whose events.
        options: how they are told.
        tick: told what the recorder is told.

    Attributes:
        counts: what was told since `open`: sessions, refused (arrivals without consent), purchases, and
            `purchases_micros`, their value.
    """

    def __init__(
        self,
        market: Market,
        options: Ga4Options,
        *,
        world: int = 0,
        seat: int = 0,
        tick: Tick = lambda _: None,
    ) -> None:
        file = market.worlds[world].file
        self.market, self.world, self.seat, self.options = market, world, seat, options
        self.counts = Counter(dict.fromkeys(_COUNTED, 0))
        self._property = Property(options.zone, file.currency, file.product)
        self._sight = Sight(file.visibility)
        self._began_us = int(np.datetime64(file.start, "us").astype(np.int64))
        self._cookies: dict[int, Cookie] = {}
        self._logins: set[int] = set()
        self._dark: set[int] = set()
        self._read = market.hour
        self._orders = 0
        self._tables: Tables | None = None
        self._tick = tick

    def open(self, tables: Tables) -> None:
        """From now on write what happens; before, only remember who came."""
        self._tables = tables
        self.counts = Counter(dict.fromkeys(_COUNTED, 0))

    def __call__(self, done: int) -> None:
        """Some hours have passed, at most to the next midnight."""
        now = self.market.hour
        if self.market.rules["tracking"][self.world] == 0:
            self._dark.update(range(self._read, now))
        self._read = now
        if now % 24 == 0:
            self._tell_day(now - 24)
            self._dark.clear()
            if self._tables is not None:
                self._tables.flush(self._began_us + now * US_PER_HOUR)
        self._tick(done)

    def _tell_day(self, first_hour: int) -> None:
        """Tell the 24 hours from `first_hour` on."""
        seen = seen_events(self.market, self.world, self.seat, self._sight, _EVER)
        self.market.books.n_events[self.world] = 0
        seen = seen[(seen["hour"] >= first_hour) & (seen["hour"] < first_hour + 24)]
        seen = seen[np.argsort(seen["hour"], kind="stable")]
        came = np.isin(seen["kind"], (TouchKind.CLICK, TouchKind.VISIT))
        sold = (seen["kind"] == TouchKind.CONVERSION) & ~np.isin(seen["hour"], list(self._dark))
        seed = self.market.worlds[self.world].seed
        draws = np.random.default_rng(named_seed("ga4", seed, first_hour))
        flaws = np.random.default_rng(named_seed("ga4 flaws", seed, first_hour))
        arrivals = self._tell_arrivals(seen[came], draws, flaws)
        self._tell_sales(seen[sold], arrivals, draws, flaws)

    def _tell_arrivals(
        self, seen: NDArray[np.void], draws: np.random.Generator, flaws: np.random.Generator
    ) -> dict[tuple[int, int], Session]:
        """Tell arrivals; returns the last of each cookie and hour."""
        keys = list(zip(seen["visitor"].tolist(), seen["hour"].tolist(), strict=True))
        together, before = Counter(keys), Counter[tuple[int, int]]()
        found: dict[tuple[int, int], Session] = {}
        for event, key in zip(seen, keys, strict=True):
            spread, lost, long, as_text = draws.uniform(size=4)
            click_id, engaged = token(draws), float(draws.lognormal(np.log(ENGAGED_MEDIAN_US), ENGAGED_SIGMA))
            part = (before[key] + spread) / (together[key] if key[0] else 1)  # no two sessions at a time
            before[key] += bool(key[0])
            at_us = self._began_us + int((key[1] + part) * US_PER_HOUR)
            came = came_by(event, click_id, is_untagged=bool(lost < UNTAGGED))
            session = self._session(event, at_us, came)
            if key[0]:
                found[key] = session
            login = int(event["login"])
            is_new = login > 0 and login not in self._logins and came.channel is not Channel.EMAIL
            self._logins.update({login} - {0})
            late_draw, delay, page_draw = flaws.uniform(size=3)
            email = f"visitor{self.counts['sessions']}@{came.channel.name.lower()}.example"
            rows = self._property.arrival(
                session,
                engaged_us=int(min(engaged, US_PER_HOUR * (0.5 + long / 2))),
                signed_up=is_new,
                engaged_as_text=bool(as_text < 0.5),
                email=email if self.options.flaws and page_draw < FLAWS["email"] else "",
            )
            if self.options.flaws and late_draw < FLAWS["late"]:
                rows = [row | {"event_server_timestamp_offset": int(delay * LATEST_US)} for row in rows]
            self.counts["sessions" if session.cookie else "refused"] += 1
            self._write(rows, flaws)
        return found

    def _session(self, event: Any, at_us: int, came: Came, *, arrives: bool = True) -> Session:
        """Whose an arrival is, or a sale that the shop's server tells."""
        cookie = self._cookie(int(event["visitor"]), at_us, came)
        number = 0
        credit = credited(cookie, came, at_us, past_direct=self.options.flaws)
        if cookie is not None and arrives:
            cookie.sessions = number = cookie.sessions + 1
            if came.channel is not Channel.DIRECT:
                cookie.clicked, cookie.clicked_us = came, at_us
        login = f"member-{int(event['login']):x}" if cookie is not None and event["login"] else ""
        device, region = int(event["device"]), int(event["region"])
        return Session(cookie, login, at_us, number, came, credit, device, region)

    def _cookie(self, visitor: int, at_us: int, came: Came) -> Cookie | None:
        """What is remembered of a visitor; None where that is not allowed."""
        if visitor == 0:
            return None
        if visitor not in self._cookies:
            name = f"{visitor % 10**10}.{at_us // 1_000_000}"
            self._cookies[visitor] = Cookie(name, at_us, came)
        return self._cookies[visitor]

    def _tell_sales(
        self,
        seen: NDArray[np.void],
        arrivals: dict[tuple[int, int], Session],
        draws: np.random.Generator,
        flaws: np.random.Generator,
    ) -> None:
        """Tell sales: in the session of that hour, else by the shop's server, which knows the cookie only."""
        for event in seen:
            visitor, hour = int(event["visitor"]), int(event["hour"])
            begin = self._began_us + hour * US_PER_HOUR
            session = arrivals.get((visitor, hour))
            since = session.start_us if session else begin
            at_us = since + int(draws.uniform() * (begin + US_PER_HOUR - since))
            on_site = session is not None or visitor == 0
            if session is None:
                session = self._session(event, at_us, Came(Channel.DIRECT), arrives=False)
            self._orders += 1
            value = int(event["value_micros"])
            row = self._property.sale(session, at_us, f"T{self._orders}", value, on_site=on_site)
            rows = [row]
            again, later = flaws.uniform(size=2)
            if self.options.flaws and again < FLAWS["sale_again"]:
                rows.append(moved(row, 1 + int(later * US_PER_HOUR), self.options.zone))
            self.counts["purchases"] += 1
            self.counts["purchases_micros"] += value
            self._write(rows, flaws)

    def _write(self, rows: list[Row], flaws: np.random.Generator) -> None:
        again = flaws.uniform(size=len(rows))
        if self.options.flaws:
            rows = rows + [row for row, draw in zip(rows, again, strict=True) if draw < FLAWS["row_again"]]
        if self._tables is not None:
            self._tables.add(rows)


def status_quo(file: MarketFile) -> Policy:
    """What the account did before anybody flew it: the fixed bids of the warm-up."""
    return FixedPolicy(multiplier=file.status_quo_multiplier)


def export_ga4(
    folder: Path,
    world: World,
    policy: Policy,
    *,
    n_people: int,
    days: int,
    options: Ga4Options,
    daily_budget_usd: float | None = None,
    seed: int = 0,
    warm_up_days: int = WARM_UP_DAYS,
    tick: Tick = lambda _: None,
) -> tuple[dict[str, int], Flight]:
    """Warm a world up, fly a policy, and write what its advertiser could export.

    Args:
        folder: gets `EVENTS_FOLDER`, `ADS` and `TRUTH`; whatever is there is overwritten.
        world: lived. policy: flown. n_people: people of the panel. days: length of the flight.
        options: how it is told. daily_budget_usd: of the panel; None: the file's a person.
        seed: for policies that draw. warm_up_days: lived before. tick: told the world-hours done.

    Returns:
        What was written (sessions, arrivals without consent, purchases and their value in micros, rows,
        tables), and the flight.

    Raises:
        BadInput: something asked for is impossible, or more happened in a day than there is room for.
    """
    room = 1000 + 2 * event_rows(n_people, 1)
    market = make_market([world], n_people, event_rows=room)
    recorder = Recorder(market, options, tick=tick)
    traffic = warm_up(market, warm_up_days, recorder)
    began = datetime.fromisoformat(f"{world.file.start}T00:00+00:00") + timedelta(hours=market.hour)
    end_us = int((began + timedelta(days=days)).timestamp()) * 1_000_000
    tables = Tables(folder / EVENTS_FOLDER, options.format, options.zone, end_us, gzip=options.gzip)
    recorder.open(tables)
    watched = Watched(policy, world.file, n_people)
    flight = fly(
        market,
        watched,
        days=days,
        traffic=traffic,
        daily_budget_usd=daily_budget_usd,
        seed=seed,
        tick=recorder,
        keep_bids=False,
    )
    tables.close()
    write_ads(folder / ADS, flight, watched, began, options.zone)
    write_json(folder / TRUTH, truth_of(world, n_people))
    return {**recorder.counts, "rows": tables.n_rows, "tables": tables.n_tables}, flight


def write_ads(path: Path, flight: Flight, watched: Watched, began: datetime, zone: ZoneInfo) -> None:
    """Write what the ad platforms had reported when the flight ended.

    A row for each hour and line with anything in it, in the accounts' time zone; an hour that the clock
    strikes twice is one. Conversions stand at the hour of their last click and are those told so far. A cell
    is empty where the platform does not tell that number, or not yet.

    Args:
        path: CSV file to make. flight: flown. watched: its policy. began: when, UTC. zone: of the dates.
    """
    told = watched.reports()
    cells = np.stack([told[name][0] for name in ("impressions", "clicks")])
    cost = np.where(np.isnan(told["spend_usd"][0]), np.nan, flight.spend_micros[0])
    conversions = np.zeros(cost.shape)
    _, line, clicked, _ = flight.arrivals.T
    np.add.at(conversions, (clicked, line), 1)
    conversions[:, Sight(flight.market.worlds[0].file.visibility).never["conversion"][CHANNEL_OF_LINE]] = (
        np.nan
    )
    table = np.concatenate([cells, cost[None], conversions[None]]).transpose(1, 2, 0)
    rows: dict[tuple[str, int, int], NDArray[np.float64]] = {}
    for h, i in np.argwhere((np.nan_to_num(table) > 0).any(axis=2)).tolist():
        local = (began + timedelta(hours=h)).astimezone(zone)
        key = (f"{local:%Y-%m-%d}", local.hour, i)
        rows[key] = rows[key] + table[h, i] if key in rows else table[h, i]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_ADS_COLUMNS)
        for (day, hour, i), row in sorted(rows.items()):
            known = ["" if np.isnan(cell) else int(cell) for cell in row]
            writer.writerow([day, hour, LINES[i].channel.name.lower(), LINES[i].name, *known])


def truth_of(world: World, n_people: int) -> Row:
    """What a calibration is to find again; it must never read it."""
    file = world.file
    return {
        "market": file.name,
        "market_sha256": file.sha256,
        "world_seed": str(world.seed),
        "people": n_people,
        "parameters": {name: stated.value for name, stated in file.parameters.items()},
        "rivals": [asdict(rival) for rival in file.rivals],
    }
