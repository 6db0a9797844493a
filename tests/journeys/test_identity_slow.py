"""Identity resolution beside a slow second implementation, by sets, lists and loops over pairs."""

import itertools
import math
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gaelp.journeys.identity.comparing import N_PATTERNS, SIZES
from gaelp.journeys.identity.weighing import count_patterns

from .test_identity import CAREFREE, model, quick, rows, state, told


def slow_levels(rows, cap):
    """{(cookie, cookie): levels} straight from the events, by sets and lists."""
    by = defaultdict(list)
    for row in rows:
        by[row[1]].append(row)
    visits = defaultdict(list)
    for row in rows:
        if row[3]:
            visits[row[1], row[3]].append(row[0])
    regulars = defaultdict(set)
    for (cookie, address), hours in visits.items():
        if max(hours) - min(hours) >= 1.0:
            regulars[address].add(cookie)
    logins = {c: {row[2] for row in own if row[2]} for c, own in by.items()}
    found = {}
    met = defaultdict(list)
    for x, who in regulars.items():
        if len(who) <= cap:
            for pair in itertools.combinations(sorted(who), 2):
                met[pair].append(x)
    places = defaultdict(set)
    for x, who in regulars.items():
        for cookie in who:
            places[cookie].add(x)
    for (a, b), common in met.items():
        if max(len(logins[a]), len(logins[b])) > 1:
            continue
        crowd = min(len(regulars[x]) for x in common)
        placed = {c: sum(row[3] > 0 for row in by[c]) for c in (a, b)}
        home = max(min(len(visits[c, x]) / placed[c] for c in (a, b)) for x in common)
        low = max(2 * crowd, crowd + 3)
        theirs = [{x for x in places[c] if low <= len(regulars[x]) <= cap} for c in (a, b)]
        where = 0 if theirs[0] & theirs[1] else 1 if theirs[0] and theirs[1] else 2
        place = 1 + 3 * (0 if crowd <= 2 else 1 if crowd == 3 else 2 if crowd <= 5 else 3) + where
        found[a, b] = (
            place,
            1 if home >= 0.5 else 2 if home >= 0.25 else 3,
            *slow_pair(by[a], by[b]),
        )
    return found, logins


def slow_pair(own, other):
    kinds = [{row[5] for row in each if row[5] < 8} for each in (own, other)]
    spans = [(min(row[0] for row in each), max(row[0] for row in each)) for each in (own, other)]
    together = spans[0][0] <= spans[1][1] and spans[1][0] <= spans[0][1]
    device = 0 if not all(kinds) else 1 if not kinds[0] & kinds[1] else 3 if together else 2
    cities = [{row[4] for row in each if row[4]} for each in (own, other)]
    city = 0 if not all(cities) else 1 if cities[0] & cities[1] else 2
    used = [{math.floor(row[0]) for row in each} for each in (own, other)]
    behaviour = 0
    counts = [Counter(row[6] for row in each if row[6] < 8) for each in (own, other)]
    if min(len(own), len(other)) >= 3 and all(counts):
        both = sum(counts[0][k] * counts[1][k] for k in counts[0])
        alike = both / math.prod(math.sqrt(sum(n * n for n in c.values())) for c in counts)
        behaviour = 1 if alike > 0.95 else 2 if alike > 0.7 else 3
    return device, city, 1 if used[0] & used[1] else 2, behaviour


def counted(resolver):
    cap = resolver.settings.crowd
    return resolver._counted(
        (3, N_PATTERNS), lambda into: count_patterns(resolver._t, cap, resolver._room, into)
    )


@pytest.mark.golden
@given(rows=rows)
@quick
def test_comparisons_equal_a_slow_second_implementation(rows):
    levels, logins = slow_levels(rows, CAREFREE.crowd)
    expected = Counter()
    for (a, b), level in levels.items():
        said = 0 if not (logins[a] and logins[b]) else 1 if logins[a] == logins[b] else 2
        expected[said, int(np.ravel_multi_index(level, SIZES))] += 1
    counts = counted(told(rows))
    found = {(int(i), int(j)): int(counts[i, j]) for i, j in zip(*np.nonzero(counts), strict=True)}
    assert found == dict(expected)


def slow_people(rows, levels, logins, worth, settings):
    """{cookie: (identity, confidence)}: groups joined one by one."""
    weights = np.log(worth.m / worth.u)
    prior = math.log(worth.prior / (1 - worth.prior))
    by = defaultdict(list)
    for row in rows:
        by[row[1]].append(row)
    login = {c: min(own) if len(own) == 1 else None for c, own in logins.items()}
    odds = {}
    for pair, level in levels.items():
        known = [login[c] for c in pair]
        ruled_out = None not in known and known[0] != known[1]
        total = sum(weights[k, one] for k, one in enumerate(level) if one)
        odds[pair] = 0.0 if ruled_out else math.exp(prior + total)

    def odds_of(a, b):
        return odds.get((min(a, b), max(a, b)))

    def competes(a, b):
        kinds = [{row[5] for row in by[c] if row[5] < 8} for c in (a, b)]
        hours = [[row[0] for row in by[c]] for c in (a, b)]
        together = min(hours[0]) <= max(hours[1]) and min(hours[1]) <= max(hours[0])
        one_class = not all(kinds) or bool(kinds[0] & kinds[1])
        return one_class and together and (login[a] is None or login[a] != login[b])

    def against(a, b):
        return math.fsum(odds_of(a, r) or 0.0 for r in by if r not in (a, b) and competes(r, b))

    claims = []
    for (a, b), own in odds.items():
        chance = own / (1 + own + (against(a, b) + against(b, a)))
        undecided = login[a] is None or login[b] is None
        if undecided and chance >= settings.least_confidence:
            claims.append((-chance, a, b))
    group = {c: frozenset(d for d in by if c == d or (login[c] and login[c] == login[d])) for c in by}
    confidence = dict.fromkeys(by, 1.0)
    for minus_chance, a, b in sorted(claims):
        left, right = group[a], group[b]
        has = [any(login[c] for c in part) for part in (left, right)]
        pairs = [odds_of(c, d) for c in left for d in right]
        if left == right or all(has) or len(left | right) > settings.most_cookies:
            continue
        if any(one is not None and one < 1.0 for one in pairs):
            continue
        leads = max((left, right), key=lambda part: (any(login[c] for c in part), len(part), -min(part)))
        for c in (left | right) - leads:
            confidence[c] *= -minus_chance
        group.update(dict.fromkeys(left | right, left | right))
    return {c: (min(group[c]), confidence[c]) for c in by}


@pytest.mark.golden
@given(rows=rows, batches=st.integers(1, 6))
@quick
def test_people_equal_a_slow_second_implementation(rows, batches):
    levels, logins = slow_levels(rows, CAREFREE.crowd)
    expected = slow_people(rows, levels, logins, model(), CAREFREE)
    found = state(told(rows, batches, asked=True))[0]
    assert {c: who for c, (who, _) in found.items()} == {c: who for c, (who, _) in expected.items()}
    for c, (_, sure) in found.items():
        assert sure == pytest.approx(expected[c][1], rel=1e-12)


def test_the_slow_implementation_has_links_to_find():
    """The strategy's rows are few; a crowd of cookies in homes of two or three joins and refuses."""
    rng = np.random.default_rng(8)
    joined = 0
    for _ in range(20):
        cookie = rng.integers(1, 13, 150)
        home = np.where(rng.random(150) < 0.7, 1 + cookie // 3, rng.integers(20, 26, 150))
        many = list(
            zip(
                (rng.random(150) * 24 * 30).tolist(),
                cookie.tolist(),
                np.where((cookie % 4 == 0) & (rng.random(150) < 0.3), 101 + cookie % 3, 0).tolist(),
                home.tolist(),
                (1 + cookie // 5).tolist(),
                (cookie % 3).tolist(),
                rng.integers(0, 4, 150).tolist(),
                strict=True,
            )
        )
        levels, logins = slow_levels(many, CAREFREE.crowd)
        expected = slow_people(many, levels, logins, model(), CAREFREE)
        found = state(told(many, batches=5, asked=True))[0]
        assert {c: who for c, (who, _) in found.items()} == {c: who for c, (who, _) in expected.items()}
        joined += sum(sure < 1.0 for _, sure in found.values())
    assert joined > 20
