"""Identity resolution: logins, evidence, order, undoing, sessions."""

import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gaelp.core.errors import BadInput
from gaelp.journeys.identity import (
    COMPARISONS,
    LinkModel,
    Resolver,
    Settings,
    judge_identities,
    stitch_sessions,
)
from gaelp.journeys.identity.comparing import N_LEVELS, N_PATTERNS, SIZES
from gaelp.journeys.identity.scoring import earned_chance, fit
from gaelp.journeys.identity.weighing import N_BINS

FIELDS = ("hour", "cookie", "login", "address", "city", "device", "behaviour")
CAREFREE = Settings(least_confidence=0.6, crowd=6)


def model(**changed) -> LinkModel:
    """Weights that link at the slightest reason, so that small examples have links to lose."""
    rng = np.random.default_rng(3)
    m, u = np.ones((len(COMPARISONS), N_LEVELS)), np.ones((len(COMPARISONS), N_LEVELS))
    for k, size in enumerate(SIZES):
        m[k, 1:size] = np.sort(rng.dirichlet(np.ones(size - 1)) + 0.02)[::-1].clip(max=1.0)
        u[k, 1:size] = rng.dirichlet(np.ones(size - 1)).clip(0.02, 1.0)
    return LinkModel(**{"prior": 0.6, "m": m, "u": u, **changed})


def events_of(rows) -> dict[str, np.ndarray]:
    columns = dict(zip(FIELDS, zip(*rows, strict=True), strict=True))
    kinds = {"hour": np.float64, "device": np.uint8, "behaviour": np.uint8}
    return {name: np.array(column, kinds.get(name, np.uint64)) for name, column in columns.items()}


def told(rows, batches=1, asked=False, with_model=True) -> Resolver:
    """A resolver that was told rows in so many batches, and perhaps asked in between."""
    resolver = Resolver(CAREFREE, model() if with_model else None)
    for part in np.array_split(np.arange(len(rows)), batches):
        if part.size:
            resolver.add(**events_of([rows[i] for i in part]))
            if asked:
                resolver.resolve()
    return resolver


def state(resolver):
    """All that is claimed and decided, by the numbers of the cookies."""
    cookies = resolver.cookies.tolist()
    by_cookie = zip(resolver.identities().tolist(), resolver.confidence().tolist(), strict=True)
    return dict(zip(cookies, by_cookie, strict=True)), resolver.links(), resolver.decisions


rows = st.lists(
    st.tuples(
        st.floats(0.0, 24.0 * 40.0, width=32),
        st.integers(1, 12),  # cookie
        st.sampled_from([0, 0, 0, 101, 102, 103]),  # login
        st.integers(0, 5),  # address
        st.integers(0, 3),  # city
        st.sampled_from([0, 1, 2, 255]),
        st.sampled_from([0, 1, 2, 3, 255]),
    ),
    min_size=1,
    max_size=80,
)
quick = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@given(rows=rows, seed=st.integers(0, 1000), batches=st.integers(1, 10))
@quick
def test_people_do_not_depend_on_order_batches_or_questions_in_between(rows, seed, batches):
    shuffled = [rows[i] for i in np.random.default_rng(seed).permutation(len(rows))]
    assert state(told(rows)) == state(told(shuffled, batches, asked=True))


@given(rows=rows, pairs=st.lists(st.tuples(st.integers(1, 12), st.integers(1, 12)), max_size=6))
@quick
def test_unmerge_restores_the_state_before_the_merge(rows, pairs):
    resolver = told(rows)
    there = set(resolver.cookies.tolist())
    done = []
    for a, b in pairs:
        if a == b or not {a, b} <= there:
            continue
        before = state(resolver)
        try:
            resolver.merge(a, b)
        except BadInput:
            assert state(resolver) == before, "what is refused changes nothing"
            continue
        who = state(resolver)[0]
        assert who[a][0] == who[b][0]
        done.append((a, b, before))
    for a, b, before in reversed(done):
        resolver.unmerge(a, b)
        assert state(resolver) == before


@given(rows=rows, a=st.integers(1, 12), b=st.integers(1, 12))
@quick
def test_held_apart_stays_apart_and_merging_takes_it_back(rows, a, b):
    resolver = told(rows)
    before = state(resolver)
    if a == b or not {a, b} <= set(resolver.cookies.tolist()):
        return
    try:
        resolver.unmerge(a, b)
    except BadInput:
        assert state(resolver) == before
        return
    resolver.add(hour=[3.0, 9.0], cookie=[a, b], address=[1, 1])  # new evidence does not undo it
    who = state(resolver)[0]
    assert who[a][0] != who[b][0]
    later = told(rows)
    later.unmerge(a, b)
    later.merge(a, b)
    assert state(later) == before


def test_two_logins_are_two_people_and_a_cookie_of_both_is_nobodys():
    resolver = Resolver(CAREFREE, model())
    resolver.add(hour=[1, 2, 3, 4], cookie=[1, 2, 3, 3], login=[7, 7, 7, 8])
    assert resolver.identities().tolist() == [1, 1, 3]
    assert resolver.is_shared().tolist() == [False, False, True]
    assert resolver.aliases(2) == {"cookies": [1, 2], "logins": [7]}
    assert [link.reason for link in resolver.links()] == ["login"]


def test_an_event_told_twice_changes_no_link():
    resolver = told([(9.0, 1, 0, 5, 1, 0, 0), (9.0, 1, 0, 5, 1, 0, 0), (30.0, 2, 0, 5, 1, 1, 0)] * 2)
    assert resolver.n_comparable() == 0, "a cookie has to come back to an address to be a regular"


def test_a_crowded_address_tells_nothing():
    rows = [(hour, cookie, 0, 5, 1, cookie % 3, 0) for cookie in range(1, 12) for hour in (9.0, 20.0, 33.0)]
    few = told([row for row in rows if row[1] <= 2])
    assert len(set(few.identities().tolist())) == 1
    assert len(set(told(rows).identities().tolist())) == 11


def test_without_a_model_only_logins_link():
    rows = [(hour, cookie, 0, 5, 1, cookie % 3, 0) for cookie in (1, 2) for hour in (9.0, 20.0, 33.0)]
    assert len(set(told(rows, with_model=False).identities().tolist())) == 2


def drawn_patterns(rng, n, same_share, m, u, known=0.0):
    """(3, N_PATTERNS) pairs drawn from a model, a share of them decided by logins."""
    counts = np.zeros((3, N_PATTERNS), np.int64)
    same = rng.random(n) < same_share
    levels = np.stack(
        [
            np.where(same, rng.choice(size - 1, n, p=m[k, 1:size]), rng.choice(size - 1, n, p=u[k, 1:size]))
            + 1
            for k, size in enumerate(SIZES)
        ]
    )
    said = np.where(rng.random(n) < known, np.where(same, 1, 2), 0)
    np.add.at(counts, (said, np.ravel_multi_index(levels, SIZES)), 1)
    return counts


@pytest.mark.statistical
@pytest.mark.parametrize("known", [0.0, 0.1])
def test_em_recovers_the_chances_pairs_were_drawn_with(known):
    rng = np.random.default_rng(11)
    m, u = np.ones((len(COMPARISONS), N_LEVELS)), np.ones((len(COMPARISONS), N_LEVELS))
    for k, size in enumerate(SIZES):
        fall = 0.45 ** np.arange(size - 1)
        m[k, 1:size], u[k, 1:size] = fall / fall.sum(), fall[::-1] / fall.sum()
    found = fit(drawn_patterns(rng, 60_000, 0.25, m, u, known))
    assert abs(found.prior - 0.25) < 0.01
    assert np.abs(found.m - m).max() < 0.02
    assert np.abs(found.u - u).max() < 0.02
    assert found.n_pairs == 60_000


def test_evidence_has_to_earn_its_say():
    none = np.zeros((2, N_BINS), np.int64)
    assert earned_chance(none, 0.5) == 0.0, "nothing is shown"
    bad = none.copy()
    bad[:, -1] = 10, 90
    assert earned_chance(bad, 0.5) == 1.0
    few = none.copy()
    few[1, -1] = 148  # all right; .98 ** 148 is above .05, so they could be .98 by luck
    assert earned_chance(few, 0.5) == 1.0
    few[1, -1] = 149
    assert earned_chance(few, 0.5) == pytest.approx(1 / (1 + math.exp(2)))
    few[0, 60] = 1000  # odds of e: wrong
    few[1, 100] = 500
    assert earned_chance(few, 0.5) == pytest.approx(1 / (1 + math.exp(-(61 / 20 - 2))))

    lucky = none.copy()
    lucky[1, -1], lucky[0, -2] = 150, 1  # a threshold just above the one that is wrong
    assert earned_chance(lucky, 0.999) == 1.0
    lucky[1, -1] = 236
    assert earned_chance(lucky, 0.999) < 1.0
    mixed = none.copy()
    mixed[1, -1], mixed[0, -1], mixed[0, 0] = 600, 2, 600
    assert 0.0 < earned_chance(mixed, 0.5) < 1.0
    assert earned_chance(mixed, 0.01) == 1.0, "most pairs that logins do not decide are of two people"


def test_sessions_end_after_half_an_hour_without_an_event():
    identity = [1, 1, 1, 1, 2]
    minutes = np.array([0.0, 30.0, 60.5, 10.0, 5.0])
    assert stitch_sessions(identity, minutes / 60.0).tolist() == [0, 0, 1, 0, 2]
    assert stitch_sessions([], []).tolist() == []
    with pytest.raises(BadInput, match="timeout_minutes"):
        stitch_sessions([1], [0.0], timeout_minutes=0.0)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), max_size=20))
@quick
def test_quality_equals_counting_pairs(cookies):
    identity, person = ([pair[k] for pair in cookies] for k in (0, 1))
    n = range(len(cookies))
    pairs = [(i, j) for i in n for j in n if i < j]
    claimed = [p for p in pairs if identity[p[0]] == identity[p[1]]]
    true = [p for p in pairs if person[p[0]] == person[p[1]]]
    found = judge_identities(identity, person)
    right = len(set(claimed) & set(true))
    assert found.claimed_pairs == len(claimed) and found.true_pairs == len(true)
    assert found.precision == (right / len(claimed) if claimed else None)
    assert found.recall == (right / len(true) if true else None)


def test_bad_input_is_told_by_name():
    resolver = Resolver()
    with pytest.raises(BadInput, match=r"hour\[1\]"):
        resolver.add(hour=[1.0, np.nan], cookie=[1, 2])
    with pytest.raises(BadInput, match=r"cookie\.shape"):
        resolver.add(hour=[1.0], cookie=[1, 2])
    with pytest.raises(BadInput, match="at least 0"):
        resolver.add(hour=[1.0], cookie=[-1])
    with pytest.raises(BadInput, match="device"):
        resolver.add(hour=[1.0], cookie=[1], device=[9])
    with pytest.raises(BadInput, match="one address"):
        resolver.fit()
    resolver.add(hour=[1.0, 2.0, 3.0], cookie=[1, 2, 3], login=[7, 7, 0])
    with pytest.raises(BadInput, match="must have been seen"):
        resolver.merge(1, 9)
    with pytest.raises(BadInput, match="must be two"):
        resolver.merge(1, 1)
    with pytest.raises(BadInput, match="joined by a login"):
        resolver.unmerge(1, 2)
    resolver.merge(1, 3)
    with pytest.raises(BadInput, match="merged already"):
        resolver.merge(3, 1)
    for bad in ({"least_confidence": 1.0}, {"crowd": 1}, {"most_cookies": 0}):
        with pytest.raises(BadInput):
            Settings(**bad)
