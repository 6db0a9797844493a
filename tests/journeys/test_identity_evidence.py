"""What evidence that an account can see would add to logins, if its worth were known: a ceiling.

Pairs of cookies that came back to one address, of different device classes and never in use in one hour, in
three markets. Their worth is found from the truth of the two other markets, as Fellegi-Sunter weights and as
weights fitted together (logistic), or from the market's own pairs with logins on both sides, which is all
that an account has. Thresholds are chosen knowing the truth, so that .95 of the pairs above them are right.

Run with `pytest -m study tests/journeys/test_identity_evidence.py -s`.
"""

import itertools
from collections import defaultdict

import numpy as np
import pytest

from gaelp.core.words import LINES, Audience, Channel, TouchKind
from gaelp.journeys.identity import Settings
from gaelp.journeys.identity.scoring import PRECISION, earned_chance
from gaelp.journeys.identity.weighing import BINS_PER_LOG, LEAST_LOG_ODDS, N_BINS

from .test_identity_study import MARKETS, Traffic, live, traffic_of

pytestmark = pytest.mark.study
TODAY = ("crowd", "home", "classes", "channels")
GROUPS = {
    "today's": (),
    "lives begin and end together": ("silent",),
    "met elsewhere, by rarity": ("elsewhere",),
    "rates of use": ("rate",),
    "visitors, rhythm, visits, hours": ("comers", "rhythm", "visits", "chances", "places", "begin", "end"),
    "audience lists": ("lists",),
}
"""Comparisons, each line beside those above."""
USE = np.log([55.0, 35.0, 10.0])  # of mobile, desktop, tablet, by who has all
KEEN = np.array([line.audience is Audience.HIGH_INTENT for line in LINES] + [False] * (256 - len(LINES)))
MONTH = 30.0 * 24.0
RIDGE = 3.0
Pairs = dict[str, np.ndarray]


def split(key: np.ndarray, n: int) -> list[np.ndarray]:
    """Rows of each key."""
    order = np.argsort(key, kind="stable")
    return np.split(order, np.searchsorted(key[order], np.arange(1, n)))


def pairs_of(traffic: Traffic) -> Pairs:
    """The facts of all pairs that could be one person."""
    seen, hour, n = traffic.seen, traffic.seen["hour"].astype(float), traffic.number.size
    where = np.unique(traffic.address, return_inverse=True)[1]
    n_places = int(where.max()) + 1
    key, visit, times = np.unique(traffic.cookie * n_places + where, return_inverse=True, return_counts=True)
    first, last = np.full(key.size, np.inf), np.full(key.size, -np.inf)
    np.minimum.at(first, visit, hour)
    np.maximum.at(last, visit, hour)
    who, at = np.divmod(key, n_places)
    back = last - first >= 1.0
    crowd, comers = np.bincount(at[back], minlength=n_places), np.bincount(at, minlength=n_places)
    places: list[dict[int, int]] = [{} for _ in range(n)]
    for c, x, k in zip(who.tolist(), at.tolist(), times.tolist(), strict=True):
        places[c][x] = k
    met: dict[tuple[int, int], list[int]] = defaultdict(list)
    for x, rows in enumerate(split(at[back], n_places)):
        if 2 <= rows.size <= Settings().crowd:
            for pair in itertools.combinations(sorted(who[back][rows].tolist()), 2):
                met[pair].append(x)
    events = [rows[np.argsort(hour[rows], kind="stable")] for rows in split(traffic.cookie, n)]
    found = []
    for pair, common in met.items():
        (da, a), (db, b) = sorted((int(seen["device"][events[c][0]]), c) for c in pair)
        if da != db and not np.intersect1d(hour[events[a]], hour[events[b]]).size:
            fact = {"a": a, "b": b, "same": traffic.life[a] == traffic.life[b], "classes": da + db}
            fact |= place_facts(places[a], places[b], common, crowd, comers, n)
            fact |= time_facts(seen, events[a], events[b])
            fact |= list_facts(seen, events[a], events[b])
            found.append(fact)
    return {name: np.array([fact[name] for fact in found]) for name in found[0]}


def place_facts(own, other, common, crowd, comers, n):
    elsewhere = [x for x in own.keys() & other.keys() if x not in common]
    size = [sum(each.values()) for each in (own, other)]
    offices = [any(20 <= comers[x] <= 45 for x in each) for each in (own, other)]
    rarity = sum(np.log(n / comers[x]) for x in elsewhere)
    fewest = min(crowd[x] for x in common)
    return {
        "crowd": np.digitize(fewest, (3, 4, 5, 6, 8)),
        "comers": 10 * np.digitize(fewest, (3, 4, 6))
        + np.digitize(min(comers[x] for x in common), (3, 4, 5, 6, 8, 11)),
        "home": np.digitize(
            max(min(own[x] / size[0], other[x] / size[1]) for x in common), (0.1, 0.25, 0.4, 0.5, 0.7)
        ),
        "elsewhere": 10 + np.digitize(rarity, (5.5, 6, 6.5, 8)) if elsewhere else offices[0] + 2 * offices[1],
        "places": np.digitize(len(common), (2, 3)),
    }


def time_facts(seen, own, other):
    """A cookie that is silent while the other begins or ends tells against them: expected events count."""
    x, y = seen["hour"][own].astype(float), seen["hour"][other].astype(float)
    n = np.array([x.size, y.size])
    rate = n / np.maximum([x[-1] - x[0], y[-1] - y[0]], 48.0)
    wait = x[0] - y[0], y[-1] - x[-1]
    silent = sum(rate[0] * max(each, 0.0) + rate[1] * max(-each, 0.0) for each in wait)
    use = np.log(n[0] + 0.5) - np.log(n[1] + 0.5)
    use -= USE[seen["device"][own[0]]] - USE[seen["device"][other[0]]]
    turn = [np.exp(2j * np.pi * each / 24.0).mean() for each in (x, y)]
    mix = [np.bincount(seen["channel"][each], minlength=8) for each in (own, other)]
    alike = mix[0] @ mix[1] / np.sqrt((mix[0] @ mix[0]) * (mix[1] @ mix[1]))
    went = [each[visits(seen[rows])] for each, rows in ((x, own), (y, other))]
    near = np.exp(-np.abs(went[0][:, None] - went[1]) / 72.0).sum() / np.sqrt(
        max(went[0].size * went[1].size, 1)
    )
    some = [each.size > 0 for each in went]
    span = max(x[-1], y[-1]) - min(x[0], y[0])
    return {
        "silent": 10 * np.digitize(silent, (0.5, 1, 2, 3, 5, 8, 12)) + np.digitize(n.min(), (4, 8, 15)),
        "rate": np.digitize(use, (-1.5, -0.8, -0.4, 0, 0.4, 0.8, 1.5)),
        "channels": np.digitize(alike, (0.5, 0.7, 0.8, 0.9, 0.95, 0.98)),
        "chances": np.digitize(n.prod() / max(span, 24.0), (0.05, 0.1, 0.2, 0.4, 0.8)),
        "rhythm": np.digitize(abs(np.angle(turn[0] * np.conj(turn[1]))) * 12.0 / np.pi, (1, 2, 3, 5)),
        "visits": 10 + np.digitize(near, (0.05, 0.2, 0.5, 1, 1.6)) if all(some) else some[0] + 2 * some[1],
        "begin": np.digitize(abs(wait[0]) / 24.0, (1, 3, 6, 12, 24)),
        "end": np.digitize(abs(wait[1]) / 24.0, (1, 3, 6, 12, 24)),
    }


def visits(rows):
    return np.isin(rows["kind"], (TouchKind.CLICK, TouchKind.VISIT, TouchKind.EMAIL_OPEN))


def list_facts(seen, own, other):
    """Lists count a person's visits on all devices: 2, one knows fewer than these two; 1, more than one."""
    says = 0
    for mine, theirs in ((seen[own], seen[other]), (seen[other], seen[own])):
        on_list = (mine["channel"] == Channel.RETARGETING) & (mine["kind"] == TouchKind.IMPRESSION)
        went = [rows["hour"][visits(rows)] for rows in (mine, theirs)]
        for ad in mine[on_list]:
            n = [((each < ad["hour"]) & (each > ad["hour"] - MONTH)).sum() for each in went]
            if not KEEN[ad["line"]] and sum(n) >= 2:
                says = 2
            elif KEEN[ad["line"]] and n[0] <= 1 and n[1] >= 1:
                says = max(says, 1)
    return {"lists": says}


# ---- what comparisons are worth ----


def one_hot(pairs: list[Pairs], names) -> list[np.ndarray]:
    """A row per pair, a column per level."""
    sizes = [int(max(p[name].max() for p in pairs)) + 1 for name in names]
    return [
        np.hstack([np.eye(size)[p[name].astype(int)] for name, size in zip(names, sizes, strict=True)])
        for p in pairs
    ]


def independent(x: np.ndarray, same: np.ndarray) -> np.ndarray:
    """Fellegi-Sunter: log of m over u for each level, the prior last."""
    m, u = x[same].sum(axis=0) + 0.5, x[~same].sum(axis=0) + 0.5
    return np.append(np.log(m / same.sum()) - np.log(u / (~same).sum()), np.log(same.sum() / (~same).sum()))


def together(x: np.ndarray, same: np.ndarray, ridge: float) -> np.ndarray:
    """Logistic regression by Newton's method, weights held towards 0."""
    used = np.flatnonzero(x.any(axis=0))
    rows = np.hstack([x[:, used], np.ones((same.size, 1))])
    weight = np.zeros(used.size + 1)
    for _ in range(12):
        chance = 1.0 / (1.0 + np.exp(-rows @ weight))
        slope = rows.T @ (same - chance) - ridge * weight
        curve = (rows * (chance * (1.0 - chance))[:, None]).T @ rows + ridge * np.eye(weight.size)
        weight += np.linalg.solve(curve, slope)
    found = np.zeros(x.shape[1] + 1)
    found[np.append(used, x.shape[1])] = weight
    return found


def chances(pairs: Pairs, x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """With rivals: a person seldom has two cookies of one class."""
    odds = np.exp(x @ weight[:-1] + weight[-1])
    against = -2.0 * odds
    for side in "ab":
        group = np.unique(np.stack([pairs[side], pairs["classes"]]), axis=1, return_inverse=True)[1].ravel()
        against += np.bincount(group, odds)[group]
    return odds / (1.0 + odds + against)


def recall_at(same: np.ndarray, chance: np.ndarray, least: float, known: int, true: int) -> float:
    """Of all pairs of one person, those that logins or the evidence above the best threshold finds."""
    order = np.argsort(-chance, kind="stable")
    right = np.cumsum(same[order])
    good = np.flatnonzero(right / np.arange(1, same.size + 1) >= least)
    good = good[good >= 30]
    return (known + (right[good[-1]] if good.size else 0)) / true


def earned(pairs: Pairs, x: np.ndarray, decided: np.ndarray) -> float:
    """The resolver's rule on pairs that logins decide, each judged by weights found from the others."""
    rows = np.flatnonzero(decided)
    fold = np.random.default_rng(9).integers(0, 5, rows.size)
    counts = np.zeros((2, N_BINS), np.int64)
    for k in range(5):
        rest, part = rows[fold != k], rows[fold == k]
        chance = chances(pairs, x, together(x[rest], pairs["same"][rest], RIDGE))[part]
        log_odds = np.log(chance / (1.0 - chance))
        at = np.clip(((log_odds - LEAST_LOG_ODDS) * BINS_PER_LOG).astype(int), 0, N_BINS - 1)
        np.add.at(counts, (pairs["same"][part].astype(int), at), 1)
    return earned_chance(counts, pairs["same"][rows].mean())


def of_pairs(who: np.ndarray) -> int:
    return sum(k * (k - 1) // 2 for k in np.unique(who, return_counts=True)[1].tolist())


def test_evidence_is_worth_something_but_few_logins_cannot_show_it():
    every = [traffic_of(live(seed), "reference", 0) for seed in MARKETS]
    pairs = [pairs_of(traffic) for traffic in every]
    login = [np.zeros(t.number.size, np.uint64) for t in every]
    for t, own in zip(every, login, strict=True):
        np.maximum.at(own, t.cookie, t.login)
    decided = [(own[p["a"]] > 0) & (own[p["b"]] > 0) for p, own in zip(pairs, login, strict=True)]
    true = [of_pairs(t.life) for t in every]
    known = [of_pairs(own[own > 0]) for own in login]
    print(f"\nby login {np.divide(known, true).mean():.4f}")
    for p, own in zip(pairs, decided, strict=True):
        same = p["same"]
        print(f"{same.size} pairs, {same.sum()} of one person; logins decide {own.sum()}, {same[own].sum()}")
    names: tuple[str, ...] = TODAY
    for group, more in GROUPS.items():
        names += more
        x = one_hot(pairs, names)
        found = defaultdict(list)
        for i, (p, own) in enumerate(zip(pairs, decided, strict=True)):
            others = [k for k in range(len(pairs)) if k != i]
            xs, same = np.vstack([x[k] for k in others]), np.concatenate([pairs[k]["same"] for k in others])
            for how, weight in (
                ("independent", independent(xs, same)),
                ("together", together(xs, same, RIDGE)),
                ("own logins", together(x[i][own], p["same"][own], RIDGE)),
            ):
                chance = chances(p, x[i], weight)
                for least in (PRECISION, 0.90):
                    recall = recall_at(p["same"][~own], chance[~own], least, known[i], true[i])
                    found[f"{how} {least}"].append(recall)
            found["earned"].append(earned(p, x[i], own))
        print(f"+ {group}:", {how: np.mean(each).round(4).item() for how, each in found.items()})
        assert (
            group != "audience lists"
            or np.mean(found[f"together {PRECISION}"]) > np.divide(known, true).mean()
        )
