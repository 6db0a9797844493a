"""Identity resolution on what an account of the simulated market sees, against the truth and against Splink.

The traffic is the market's own: devices, cookies where allowed (.46), regions, events and their hours; with
addresses as `worlds.visible` lays them over it. Its own logins are on 6 % of the cookies; the reference has
them on 30 %, drawn cookie by cookie.

Run with `pytest -m study tests/journeys/test_identity_study.py -s`; Splink comes with the extra `identity`.
"""

from dataclasses import replace
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import pytest

from gaelp.journeys.identity import Quality, Resolver, Settings, judge_identities
from gaelp.market.file import load
from gaelp.market.market import Market, World
from gaelp.platforms.reporting import Sight, seen_events
from gaelp.platforms.simulated import SimulatedPlatform
from gaelp.worlds.flight import reference_prices
from gaelp.worlds.visible import PEOPLE_PER_HOME, address_of, life_of

pytestmark = pytest.mark.study
N_PEOPLE, DAYS, LOGGED_IN = 10_000, 60, 0.30
MARKETS = (21, 22, 23)
"""Seeds."""
PEOPLE_PER_HOME_OF = {"reference": PEOPLE_PER_HOME, "small homes": 0.1}


class Traffic(NamedTuple):
    """Events with a cookie; `cookie` counts from 0."""

    number: np.ndarray  # (n_cookies,)
    life: np.ndarray  # (n_cookies,) truth
    cookie: np.ndarray
    login: np.ndarray
    address: np.ndarray
    seen: np.ndarray

    def told_to(self, resolver: Resolver) -> Resolver:
        resolver.add(
            hour=self.seen["hour"],
            cookie=self.number[self.cookie],
            login=self.login,
            address=self.address,
            city=self.seen["region"].astype(np.uint64) + np.uint64(1),
            device=self.seen["device"],
            behaviour=self.seen["channel"],
        )
        return resolver

    def quality(self, resolver: Resolver) -> Quality:
        life = self.life[np.searchsorted(self.number, resolver.cookies)]
        return judge_identities(resolver.identities(), life)


@lru_cache(maxsize=1)
def live(seed: int) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """(records, life, {homes: address}) of all events of a market that carry a cookie."""
    market = Market(
        [World(load("markets/family_safety.toml"), seed)], n_people=N_PEOPLE, event_rows=120 * N_PEOPLE
    )
    platform = SimulatedPlatform(market)
    platform.controls.bid[:, 0] = reference_prices(market)
    for _ in range(24 * DAYS):
        platform.advance()
    seen = seen_events(market, 0, 0, Sight(market.worlds[0].file.visibility), market.hour)
    seen = seen[seen["visitor"] > 0]
    life = life_of(market, 0, 0, seen)
    address = {name: address_of(market, 0, seen, life, n) for name, n in PEOPLE_PER_HOME_OF.items()}
    return seen, life, address


@pytest.fixture(scope="module", params=MARKETS)
def lived(request):
    return live(request.param)


def traffic_of(lived, homes: str, seed: int | None) -> Traffic:
    """Seed None: with the market's own logins."""
    seen, life, address = lived
    number, first, cookie = np.unique(seen["visitor"], return_index=True, return_inverse=True)
    login = seen["login"]
    if seed is not None:
        logged_in = np.random.default_rng(seed).random(number.size) < LOGGED_IN
        login = np.where(logged_in[cookie], life + 1, 0).astype(np.uint64)
    return Traffic(number, life[first], cookie, login, address[homes], seen)


@pytest.mark.parametrize("seed", [None, 0, 1, 2])
@pytest.mark.parametrize("homes", PEOPLE_PER_HOME_OF)
def test_claimed_links_are_right_and_few_clusters_mix_people(lived, homes, seed):
    traffic = traffic_of(lived, homes, seed)
    resolver = traffic.told_to(Resolver())
    login = traffic.quality(resolver)
    earned = resolver.fit().earned
    quality = traffic.quality(resolver)
    print(f"\n{homes}, logins {seed}: {quality._asdict()} earned {earned:.3f}")
    print(f"  by login alone: recall {login.recall:.4f}")
    print(f"  {resolver.n_cookies} cookies, {traffic.seen.size} events")
    assert quality.precision >= 0.95 and quality.mixed_share <= 0.005
    assert quality.recall >= login.recall


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("homes", PEOPLE_PER_HOME_OF)
def test_recall_is_at_least_splinks_at_the_same_precision(lived, homes):
    """As claimed, and with thresholds chosen knowing the truth, evidence speaking before it has earned it."""
    pytest.importorskip("splink", reason="Splink comes with the extra `identity`")
    traffic = traffic_of(lived, homes, 0)
    resolver = traffic.told_to(Resolver())
    model = resolver.fit()
    claimed = traffic.quality(resolver)
    precision, recall = splink_curve(traffic)
    best = {p: recall[precision >= p].max() for p in (claimed.precision, 0.95, 0.90, 0.80)}
    ours = [
        traffic.quality(
            traffic.told_to(Resolver(Settings(least_confidence=least), replace(model, earned=0.0)))
        )
        for least in (0.5, 0.8, 0.85, 0.9, 0.93, 0.95, 0.97, 0.99)
    ]
    print(f"\n{homes}: claimed {claimed._asdict()}; Splink's best recall by precision {best}")
    for least in (0.95, 0.90, 0.80):
        swept = max((q.recall for q in ours if q.precision >= least), default=0.0)
        print(f"  at precision {least}: ours {swept:.4f}, Splink {best[least]:.4f}")
        assert least < 0.95 or max(swept, claimed.recall) >= best[least]
    assert claimed.recall >= best[claimed.precision]


def splink_curve(traffic: Traffic) -> tuple[np.ndarray, np.ndarray]:
    """Precision and recall of logins plus Splink's pairs, by every threshold: chosen knowing the truth.

    As with us, logins decide the pairs they can, and an address of more than twelve cookies tells nothing.
    Splink gets the same facts as columns of a record per cookie.
    """
    import splink.comparison_library as compare
    from splink import DuckDBAPI, Linker, SettingsCreator, block_on

    table, login = splink_records(traffic)
    n = traffic.number.size
    creator = SettingsCreator(
        link_type="dedupe_only",
        comparisons=[
            compare.ExactMatch("home"),
            compare.ArrayIntersectAtSizes("addresses", [2, 1]),
            compare.ExactMatch("device"),
            compare.ExactMatch("city"),
            compare.ExactMatch("behaviour"),
            compare.ArrayIntersectAtSizes("hours", [1]),
        ],
        blocking_rules_to_generate_predictions=[block_on("addresses", arrays_to_explode=["addresses"])],
        probability_two_random_records_match=0.5 / n,  # about half the cookies have one of the same person
    )
    linker = Linker(DuckDBAPI().register(table), creator, log_level=40)
    linker.training.estimate_u_using_random_sampling(max_pairs=1e6, seed=1)
    linker.training.estimate_parameters_using_expectation_maximisation(block_on("home"))
    linker.training.estimate_parameters_using_expectation_maximisation(block_on("city", "device"))
    found = linker.inference.predict().as_record_list()
    a, b = (np.array([row[f"unique_id_{side}"] for row in found]) for side in "lr")
    weight = np.array([row["match_weight"] for row in found])
    undecided = (login[a] == 0) | (login[b] == 0)
    a, b, weight = a[undecided], b[undecided], weight[undecided]
    order = np.argsort(-weight, kind="stable")
    right = np.cumsum((traffic.life[a] == traffic.life[b])[order])
    whole = np.append(np.diff(weight[order]) < 0, True)  # equal weights are claimed together
    by_login, true = (
        sum(k * (k - 1) // 2 for k in np.unique(who, return_counts=True)[1].tolist())
        for who in (login[login > 0], traffic.life)
    )
    claimed = by_login + np.append(0, np.arange(1, right.size + 1)[whole])
    good = by_login + np.append(0, right[whole])
    return good / claimed, good / true


def splink_records(traffic: Traffic) -> tuple[Any, np.ndarray]:
    """A record for each cookie, and its login."""
    import pyarrow

    n, cookie, seen = traffic.number.size, traffic.cookie, traffic.seen
    place = np.unique(traffic.address, return_inverse=True)[1]
    pairs, times = np.unique(np.stack([cookie, place]), axis=1, return_counts=True)
    known = np.bincount(pairs[1])[pairs[1]] <= Settings().crowd
    addresses: list[list[int]] = [[] for _ in range(n)]
    for c, x, _ in sorted(
        zip(*pairs[:, known].tolist(), times[known].tolist(), strict=True), key=lambda r: -r[2]
    ):
        addresses[c].append(x)
    hours: list[list[int]] = [[] for _ in range(n)]
    for c, hour in zip(*np.unique(np.stack([cookie, seen["hour"]]), axis=1).tolist(), strict=True):
        hours[c].append(hour)
    channels = np.zeros((n, 8), np.int64)
    np.add.at(channels, (cookie, seen["channel"]), 1)
    first = np.unique(cookie, return_index=True)[1]
    login = np.zeros(n, np.uint64)
    np.maximum.at(login, cookie, traffic.login)
    table = pyarrow.table(
        {
            "unique_id": np.arange(n),
            "addresses": pyarrow.array(addresses, pyarrow.list_(pyarrow.int64())),
            "home": pyarrow.array([own[0] if own else None for own in addresses], pyarrow.int64()),
            "device": seen["device"][first].astype(int),
            "city": seen["region"][first].astype(int),
            "behaviour": channels.argmax(axis=1),
            "hours": pyarrow.array(hours, pyarrow.list_(pyarrow.int64())),
        }
    )
    return table, login
