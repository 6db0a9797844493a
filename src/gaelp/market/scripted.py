"""One person's story, written down beforehand and lived by the market's own kernels.

A script settles what chance decides elsewhere: for one hour every chance it speaks of becomes 0 or 1 in the
rules, everybody bids what it says, and `Market.advance` lives the hour. Auction, price, visit, cookie,
goodwill, forgetting, stage and purchase are the market's. Where no rule can make a moment certain, its draws
do: it gets the first key under which it goes as written, and its twins share that key.

This module holds no kernels, so editing it recompiles nothing.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from gaelp.core.errors import BadInput
from gaelp.core.names import require_known
from gaelp.core.random import named_seed, subkey
from gaelp.core.words import (
    CREATIVES,
    EMAIL_LINE,
    LANDING_PAGES,
    LINES,
    N_CREATIVES,
    NO_LINE,
    RETARGETING_LINE,
    Channel,
    Query,
    Stage,
    TouchKind,
)
from gaelp.market import hour as kernels
from gaelp.market import people
from gaelp.market.auction import clear
from gaelp.market.file import MarketFile
from gaelp.market.hour import DISPLAY, MAIL, N_SLOTS, SEARCH, T_AD
from gaelp.market.market import Market, World
from gaelp.market.parameters import ACTIVITIES
from gaelp.market.state import RING, SPEND, Controls, empty_controls

Floats = NDArray[np.float64]
Rules = dict[str, object]
Off = Collection[tuple[int, TouchKind]]

# Kernels carry no annotations.
_open_day: Any = kernels.open_day
_search_query: Any = kernels.search_query
_brand_quality: Any = kernels.brand_quality
_utility: Any = kernels.utility
_person_key: Any = people.person_key

_SURE = 1e9
"""Turns any positive rate or chance it stands in for into a certainty; the kernels cut chances themselves."""
_TRIES = 1_000
_ALL_DAY = np.uint32(0xFFFFFF)
_STILL: Rules = {
    "hour_rate": 0.0,
    "buy_rate": 0.0,
    "trigger_per_day": 0.0,
    "churn_per_day": 0.0,
    "stage_up_day": 0.0,
    "stage_down_day": 0.0,
    "need_noise": 0.0,
    "need_persistence": 1.0,
    "season_demand": 1.0,
    "bid_noise": 1.0,
    "common_noise": 1.0,
    "organic_click": 0.0,
    "mail_signup": 0.0,
}
"""Rules of an hour in which nothing happens by chance; forgetting goes on."""
_EVENT: Rules = {"trigger_per_day": 1.0, "goodwill_keep": 1.0, "views_keep": 1.0, "urgency_keep": 1.0}
"""Rules of a midnight that brings the trigger event and nothing else."""


@dataclass(frozen=True, kw_only=True)
class Person:
    """Who the story is about: the owner of one phone.

    Attributes:
        segment: name of the home segment.
        stage: at the beginning.
        need: for the category, 1 is usual; it stays where it is.
        price_sensitivity: relative to the segment's.
        tracking_allowed: the phone takes cookies, and its owner is logged in on social platforms.
    """

    segment: str
    stage: Stage
    need: float = 1.0
    price_sensitivity: float = 1.0
    tracking_allowed: bool = True


@dataclass(frozen=True, kw_only=True)
class Search:
    """A search whose topmost ad is clicked.

    Attributes:
        hour: since the story began. minute: of that hour.
        query: what it is about, seen from us. names: the brand it names, for brand queries.
        bids_usd: {brand: USD per click}; who is missing does not bid.
        clicked: whose ad wins the first slot and is clicked.
        stage: where it leaves the person.
        landing: our landing page. signs_up: the visit leaves an e-mail address.
    """

    hour: int
    minute: int = 0
    query: Query
    names: str = ""
    bids_usd: Mapping[str, float]
    clicked: str
    stage: Stage
    landing: str = "home"
    signs_up: bool = False


@dataclass(frozen=True, kw_only=True)
class Crisis:
    """The trigger event of the market's nights: urgency spikes, the segment becomes the file's first one."""

    hour: int
    minute: int = 0


@dataclass(frozen=True, kw_only=True)
class Retargeting:
    """A display impression that we win, seen and not clicked; bids and floor in USD per 1000."""

    hour: int
    minute: int = 0
    bids_usd: Mapping[str, float]
    floor_cpm: float
    creative: str


@dataclass(frozen=True, kw_only=True)
class Mail:
    """A message of ours, opened and clicked."""

    hour: int
    minute: int = 0
    cost_usd: float
    landing: str = "home"


Scene = Search | Crisis | Retargeting | Mail


@dataclass(frozen=True)
class Touch:
    """A contact that somebody's log holds for this person.

    A search is none by itself, nor is a search ad that is not clicked: platforms report those in sums only.
    """

    scene: int
    hour: float
    brand: str
    kind: TouchKind
    channel: Channel
    cost_micros: int


@dataclass(frozen=True)
class Offer:
    """One bid in an auction: USD per click, for display per 1000; `slot` 0 is the first, -1 none."""

    brand: str
    bid: float
    quality: float
    slot: int
    price: float


@dataclass(frozen=True)
class Lived:
    """What the market made of one scene.

    Attributes:
        ads: (slot, brand, price), best slot first; USD per click, for display per 1000.
        named: the brand that the query named, "" for none.
        cost_micros: what it cost us. touches: in order.
        stage, segment, urgency: of the person, afterwards.
        goodwill: (n_brands,) logit, afterwards, ours first.
    """

    ads: tuple[tuple[int, str, float], ...]
    named: str
    cost_micros: int
    touches: tuple[Touch, ...]
    stage: Stage
    segment: str
    urgency: float
    goodwill: tuple[float, ...]


@dataclass(frozen=True)
class Odds:
    """Chances in a purchase made now, by brand, ours first; what is missing to 1 is "nothing after all".

    Attributes:
        untasted: (n_brands,) for somebody without a personal taste for any brand.
        mean: (n_brands,) integrated over the market's distribution of tastes.
    """

    untasted: Floats
    mean: Floats


@dataclass
class Telling:
    """A script, lived once: `lived` and `touches` say how it went, `twin` lives it without some ads.

    Args:
        file: the market. person: whom it happens to. scenes: what happens, in order of time; a purchase of
            our product follows the last one.
        seed: names the draws.

    Raises:
        BadInput: scenes are out of order, or one cannot happen in this market, such as a click on an ad that
            does not win.
        UnknownName: a brand, page, creative or segment that the market does not know.
    """

    file: MarketFile
    person: Person
    scenes: Sequence[Scene]
    seed: int = 0
    lived: list[Lived] = field(init=False, default_factory=list)
    market: Market = field(init=False)
    _keys: list[int] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        _refuse_disorder(self.scenes)
        self._start = _one_person_world(self.file, self.person)
        market = self._start.copy()
        for i in range(len(self.scenes)):
            key = self._first_key(market, i)
            self._keys.append(key)
            self.lived.append(self._live(market, i, key, buys=self._is_last(i)))
        self.market = market

    @property
    def brands(self) -> tuple[str, ...]:
        """Us, then the rivals, as arrays over brands have them."""
        return (self.file.advertiser, *(rival.name for rival in self.file.rivals))

    @property
    def touches(self) -> list[Touch]:
        """All touchpoints, in order."""
        return [touch for lived in self.lived for touch in lived.touches]

    @property
    def ours(self) -> list[Touch]:
        """Our touchpoints, in order."""
        return [touch for touch in self.touches if touch.brand == self.brands[0]]

    @property
    def cost_micros(self) -> int:
        """All that we paid, as the market booked it."""
        return _booked(self.market)

    @property
    def decision(self) -> np.void:
        """The market's record of the purchase."""
        record: np.void = self.market.decisions(0)[-1]
        return record

    @property
    def platform_line(self) -> str:
        """Line that the market's report credits: our last click within 30 days, "" for none."""
        line = int(self.decision["line"])
        return "" if line == NO_LINE else LINES[line].name

    def auction(self, i: int) -> list[Offer]:
        """Clear the auction of scene `i` once more by the public `clear`: all bids, in order of slots.

        Raises:
            BadInput: the scene has no auction.
        """
        scene, rules = self.scenes[i], self.market.rules[0]
        if not isinstance(scene, Search | Retargeting):
            raise BadInput(f"scenes[{i}]", scene, "must hold an auction", "Ask for a search or a banner.")
        bids = np.array([scene.bids_usd.get(brand, -np.inf) for brand in self.brands])
        quality = np.ones(len(self.brands))
        if isinstance(scene, Search):
            named = self.brands.index(scene.names) if scene.names else -1
            quality[1:] = self.market.rivals.quality[0]
            quality *= [_brand_quality(rules, named, b) for b in range(len(self.brands))]
            reserve = float(rules["search_reserve_usd"][scene.query])
            winner, price = clear(bids[None], quality[None], [reserve], n_slots=N_SLOTS)
        else:
            winner, price = clear(bids[None], quality[None], [scene.floor_cpm], pricing="first")
        slot_of = {int(b): slot for slot, b in enumerate(winner[0]) if b >= 0}
        offers = [
            Offer(brand, float(bids[b]), float(quality[b]), slot, float(price[0, slot]) if slot >= 0 else 0.0)
            for b, brand in enumerate(self.brands)
            if np.isfinite(bids[b])
            for slot in [slot_of.get(b, -1)]
        ]
        return sorted(offers, key=lambda offer: (offer.slot % (N_SLOTS + 1), -offer.bid))

    def twin(self, without: Collection[Touch], *, handed_on: bool = False) -> tuple[Market, list[Touch]]:
        """Live the story without some of our touches, up to the moment of the choice.

        What a touch made possible goes with it: no visit, no cookie and no retargeting; no address, no mail.

        Args:
            without: touches of ours to leave out: a bid that is not made, a message that is not opened or
                not clicked. Without all of ours, we bid nowhere.
            handed_on: give the click or view to the next ad in the auction, as the market's draws would;
                else nobody gets it.

        Returns:
            The market at the moment of choice, and the touches that did happen.

        Raises:
            BadInput: a touch is none of ours.
        """
        for touch in without:
            if touch not in self.ours:
                raise BadInput("without", touch, "must be our touches in this story", "Use those of `ours`.")
        off = {(touch.scene, touch.kind) for touch in without}
        silent = len(off) == len(self.ours)
        market = self._start.copy()
        happened: list[Touch] = []
        for i, key in enumerate(self._keys):
            lived = self._live(market, i, key, off=off, silent=silent, handed_on=handed_on)
            happened.extend(lived.touches)
        return market, happened

    def odds(self, market: Market) -> Odds:
        """Chances in a purchase at this moment, from the market's own utilities."""
        rules = market.rules.copy()
        rules["taste_sigma"] = 0.0
        person = market.pop.people[0, 0]
        sensitivity = float(rules["price_sensitivity"][0, person["segment"]] * person["price_sensitivity"])
        goodwill, rivals, no_key = market.pop.goodwill[0], market.rivals, np.uint64(0)
        utilities = np.array(
            [
                _utility(rules[0], rivals, goodwill, 0, 0, brand, 1, no_key, sensitivity)
                for brand in range(len(self.brands))
            ]
        )
        nothing = float(rules["none_utility"][0])
        return Odds(
            untasted=_softmax(utilities, nothing),
            mean=_mean_over_tastes(utilities, nothing, float(market.rules["taste_sigma"][0])),
        )

    def _is_last(self, i: int) -> bool:
        return i == len(self.scenes) - 1

    def _first_key(self, market: Market, i: int) -> int:
        """The first key of draws under which scene `i` goes as written."""
        for attempt in range(_TRIES):
            key = named_seed("scripted", self.seed, i, attempt)
            trial = market.copy()
            lived = self._live(trial, i, key, buys=self._is_last(i))
            if self._as_written(i, lived, trial):
                return key
        raise BadInput(
            f"scenes[{i}]",
            self.scenes[i],
            "must be possible in this market",
            "Compare who wins its auction (bid x quality) and the stage before it.",
        )

    def _as_written(self, i: int, lived: Lived, market: Market) -> bool:
        scene = self.scenes[i]
        touched = [(touch.brand, touch.kind) for touch in lived.touches]
        if self._is_last(i) and len(market.decisions(0)) != 1:
            return False
        if isinstance(scene, Search):
            has_address = market.pop.memory["mail"][0, 0, 0] == 1
            as_said = lived.named == scene.names and scene.signs_up <= has_address
            return as_said and touched == [(scene.clicked, TouchKind.CLICK)] and lived.stage == scene.stage
        if isinstance(scene, Retargeting):
            return touched == [(self.brands[0], TouchKind.IMPRESSION)]
        return isinstance(scene, Crisis) or len(touched) == 2  # a mail is opened and clicked

    def _live(
        self,
        market: Market,
        i: int,
        key: int,
        *,
        off: Off = (),
        silent: bool = False,
        handed_on: bool = False,
        buys: bool = False,
    ) -> Lived:
        """Live scene `i` in `market` on the draws of `key`, without the touches in `off`."""
        scene = self.scenes[i]
        _pass_nights(market, scene.hour)
        person = market.pop.people[0, 0]
        n_truth, ring_at, cost = int(market.books.n_truth[0]), int(person["ring_at"]), _booked(market)
        named = ""
        if isinstance(scene, Crisis):
            # The market's event belongs to midnight: live this day's once more, with nothing but the event.
            _midnight(market, scene.hour // 24, _EVENT)
        else:
            rules, controls = self._direct(market, i, off, silent, handed_on)
            rules["buy_rate"] = _SURE if buys else 0.0
            if isinstance(scene, Search):
                named = self._named(market, rules, key)
            _advance(market, controls, rules, key)
        cost = _booked(market) - cost
        return Lived(
            ads=self._ads(market, n_truth),
            named=named,
            cost_micros=cost,
            touches=tuple(self._new_touches(person, ring_at, i, cost)),
            stage=Stage(int(person["stage"])),
            segment=self.file.segments[int(person["segment"])],
            urgency=float(person["urgency"]),
            goodwill=tuple(float(g) for g in market.pop.goodwill[0, 0]),
        )

    def _direct(
        self, market: Market, i: int, off: Off, silent: bool, handed_on: bool
    ) -> tuple[Rules, Controls]:
        """Rules and our controls of the hour in which scene `i` happens; rivals' bids are set in place."""
        scene, controls = self.scenes[i], empty_controls(1, 1)
        if isinstance(scene, Mail):
            controls.bid[0, 0, EMAIL_LINE] = 0.0 if silent else scene.cost_usd
            controls.landing[:] = _code("landing", scene.landing, LANDING_PAGES)
            return _mail_rules(scene, (i, TouchKind.EMAIL_OPEN) in off, (i, TouchKind.CLICK) in off), controls
        assert not isinstance(scene, Crisis)
        lost = (i, TouchKind.CLICK if isinstance(scene, Search) else TouchKind.IMPRESSION) in off
        self._set_bids(market, scene.bids_usd, controls, withheld=lost or silent)
        sure = 0.0 if lost and not handed_on else _SURE
        if isinstance(scene, Search):
            controls.landing[:] = _code("landing", scene.landing, LANDING_PAGES)
            return _search_rules(scene, sure), controls
        controls.bid[..., :RETARGETING_LINE] = 0.0
        controls.creative[:] = np.arange(N_CREATIVES) >= _code("creative", scene.creative, CREATIVES)
        return _display_rules(scene, sure), controls

    def _set_bids(
        self, market: Market, bids_usd: Mapping[str, float], controls: Controls, withheld: bool
    ) -> None:
        market.rivals.active[:] = 0
        for brand, usd in bids_usd.items():
            b = _code("brand", brand, self.brands)
            if b > 0:
                market.rivals.bid[0, b - 1] = usd
                market.rivals.active[0, b - 1] = 1
            elif not withheld:
                controls.bid[:] = usd

    def _named(self, market: Market, rules: Rules, key: int) -> str:
        """The brand that the coming search names, "" for none."""
        scripted = _scripted(market.rules, rules, key)[0]
        person = market.pop.people[0, 0]
        # Called from Python, a kernel hands back plain integers; these are the types it takes.
        own_key = np.uint64(_person_key(scripted, 0, int(person["generation"])))
        hour_key = np.uint64(subkey(own_key, market.hour))
        _, named = _search_query(scripted, person, market.pop.goodwill[0], 0, own_key, hour_key, 1)
        return self.brands[named] if named >= 0 else ""

    def _ads(self, market: Market, since: int) -> tuple[tuple[int, str, float], ...]:
        rows = market.truth(0)[since:]
        # The log numbers feeds 0 to 2 and then the slots of a search page.
        return tuple(
            (max(int(row["slot"]) - 3, 0), self.brands[row["brand"]], float(row["x"][2]))
            for row in rows[rows["kind"] == T_AD]
        )

    def _new_touches(self, person: np.void, ring_at: int, i: int, cost_micros: int) -> list[Touch]:
        """Touchpoints that the person's ring took up since it stood at `ring_at`."""
        hour = self.scenes[i].hour + self.scenes[i].minute / 60.0
        found: list[Touch] = []
        for at in range(ring_at, ring_at + (int(person["ring_at"]) - ring_at) % (16 * RING)):
            code = int(person["touches"][at % RING])
            kind, channel = TouchKind(code >> 4 & 7), Channel(code & 15)
            unlogged = (kind, channel) == (TouchKind.IMPRESSION, Channel.SEARCH)
            if unlogged or kind in (TouchKind.SEARCH, TouchKind.CONVERSION):
                continue
            brand = self.brands[code >> 7 & 63]
            cost = cost_micros if brand == self.brands[0] else 0
            if (kind, channel) == (TouchKind.CLICK, Channel.EMAIL):
                # The ring keeps only the later of the two.
                found.append(Touch(i, hour, brand, TouchKind.EMAIL_OPEN, channel, cost))
                cost = 0
            found.append(Touch(i, hour, brand, kind, channel, cost))
        return found


def _search_rules(scene: Search, click: float) -> Rules:
    return {
        "hour_rate": _only(SEARCH),
        "search_per_day": 1.0,
        "query_edge": np.arange(len(Query)) >= min(scene.query, Query.RIVAL_BRAND),
        "query_share": np.arange(len(Query)) == scene.query,
        "search_click": click,
        "mail_signup": float(scene.signs_up),
    }


def _display_rules(scene: Retargeting, view: float) -> Rules:
    return {
        "hour_rate": _only(DISPLAY),
        "floor_cpm": scene.floor_cpm,
        "viewability": view,
        "feed_click_odds": 0.0,
    }


def _mail_rules(scene: Mail, unopened: bool, unclicked: bool) -> Rules:
    return {
        "hour_rate": _only(MAIL),
        "mail_cost_usd": scene.cost_usd,
        "mail_unsubscribe": 0.0,
        "mail_open": 0.0 if unopened else _SURE,
        "mail_click": 0.0 if unclicked else _SURE,
    }


def _one_person_world(file: MarketFile, person: Person) -> Market:
    market = Market([World(file, 0)], n_people=1, truth_rows=1024)
    one = market.pop.people[0, 0]
    one["segment"] = one["home_segment"] = _code("segment", person.segment, file.segments)
    one["stage"] = person.stage
    one["need"], one["ln_need"] = person.need, np.log(person.need)
    one["price_sensitivity"] = person.price_sensitivity
    one["devices"] = 0b1001001 if person.tracking_allowed else 0b0000001
    one["attention"] = 1.0
    one["exit_day"] = np.iinfo(np.int32).max
    return market


def _pass_nights(market: Market, hour: int) -> None:
    """Bring the clock to `hour`; of the hours between, only midnights do anything."""
    for day in range(market.hour // 24 + 1, hour // 24 + 1):
        _midnight(market, day, {})
    market.hour = hour  # for a second scene in the same hour the clock goes back


def _midnight(market: Market, day: int, rules: Rules) -> None:
    with _one_thread():
        scripted = _scripted(market.rules, rules)
        _open_day(scripted, market.pop, market.rivals, market.books, day, False)


def _advance(market: Market, controls: Controls, rules: Rules, key: int) -> None:
    """Live one hour in which nothing happens by chance but what `rules` allow, on the draws of `key`."""
    usual = market.rules
    market.rules = _scripted(usual, rules, key)
    market.pop.today[:] = _ALL_DAY
    with _one_thread():
        market.advance(controls, adapt=False)
    market.rules = usual


@contextmanager
def _one_thread() -> Iterator[None]:
    """One world has work for one thread; on a busy machine, waking others takes 100 times longer."""
    threads = numba.get_num_threads()
    numba.set_num_threads(1)
    try:
        yield
    finally:
        numba.set_num_threads(threads)


def _scripted(usual: NDArray[np.void], rules: Rules, key: int | None = None) -> NDArray[np.void]:
    scripted = usual.copy()
    for name, value in {**_STILL, **rules}.items():
        scripted[name] = value
    if key is not None:
        scripted["world_key"] = key
    return scripted


def _booked(market: Market) -> int:
    return int(market.books.report[0, 0, :, SPEND].sum())


def _only(activity: int) -> Floats:
    """(6, 168) hour rates that leave nothing but `activity`, and make it certain where it is possible."""
    rate = np.zeros((len(ACTIVITIES), 168))
    rate[activity] = _SURE
    return rate


def _code(name: str, value: str, known: Sequence[str]) -> int:
    return known.index(require_known(name, value, known))


def _refuse_disorder(scenes: Sequence[Scene]) -> None:
    for i in range(1, len(scenes)):
        before, after = scenes[i - 1], scenes[i]
        # 23:00 ends with midnight, so it can be lived once.
        twice = after.hour == before.hour and after.hour % 24 == 23 and not isinstance(before, Crisis)
        if after.hour < before.hour or twice:
            raise BadInput(
                f"scenes[{i}].hour",
                after.hour,
                f"must be at least {before.hour + twice}",
                "Order scenes by time; 23:00 holds one.",
            )


def _softmax(utilities: Floats, nothing: float) -> Floats:
    weight: Floats = np.exp(utilities)
    chances: Floats = weight / (weight.sum(axis=-1, keepdims=True) + np.exp(nothing))
    return chances


def _mean_over_tastes(utilities: Floats, nothing: float, sigma: float) -> Floats:
    """Mean choice chances when the taste for each brand is normal with spread `sigma`.

    Gauss-Hermite quadrature on a grid of 7 points a brand: for a handful of brands.
    """
    node, weight = np.polynomial.hermite_e.hermegauss(7)
    n = utilities.size
    taste = np.stack(np.meshgrid(*[node] * n, indexing="ij"), axis=-1).reshape(-1, n)
    mass = np.stack(np.meshgrid(*[weight / weight.sum()] * n, indexing="ij"), axis=-1).reshape(-1, n)
    chances: Floats = mass.prod(axis=1) @ _softmax(utilities + sigma * taste, nothing)
    return chances
