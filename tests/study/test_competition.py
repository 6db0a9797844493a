"""What an account concludes of its rivals beside what they did; see `pytest -m study -k rivals -s`."""

from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest

from gaelp.core.words import LINES, Channel
from gaelp.evaluation.competition_truth import FACTORS, Cleared, Compared, Varied, compare
from gaelp.market.file import load
from gaelp.measurement.competition.fit import fit_line
from gaelp.measurement.competition.told import pooled_change
from gaelp.worlds.families import DEFAULT, FAMILIES
from gaelp.worlds.flight import fly, make_market, warm_up
from gaelp.worlds.reports import Watched, line_logs
from gaelp.worlds.splits import split_worlds
from gaelp.worlds.tuned import tuned_for

pytestmark = pytest.mark.study
FILE = load("markets/family_safety.toml")
USERS, DAYS, EVERY = 20_000, 29, 5
CHANNELS = {line.name: line.channel.name.lower() for line in LINES}
RISING = replace(DEFAULT, name="rising", later=FAMILIES["aggressive_rival"].revision, later_share=0.5)
"""The aggressive rival arrives half-way through the flight."""


def flown(n_worlds, deviation, family=DEFAULT):
    """Reports and truth of tuned pacing whose bids vary at random by `deviation`."""
    tuned = tuned_for(FILE)
    market = make_market(split_worlds(FILE, "validation", n_worlds), USERS)
    traffic = warm_up(market)
    family.apply(market, market.hour, DAYS)
    policy = Varied(tuned.pacing(), deviation) if deviation else tuned.pacing()
    truth = Cleared(policy, market, every=EVERY)
    watched = Watched(truth, FILE, USERS)
    fly(market, watched, days=DAYS, traffic=traffic, tuned=tuned, keep_bids=False)
    return watched.reports(), truth


def table(found: list[Compared]) -> dict[tuple[str, str], tuple[float, float, float, int]]:
    """(channel or all, figure) -> coverage, mean absolute error, mean width, lines."""
    groups = defaultdict(list)
    for each in found:
        for group in (CHANNELS[each.line], "all"):
            groups[group, each.figure].append(each)
    rows = {}
    for key, group in sorted(groups.items()):
        relative = key[1].startswith("needed")
        error = [
            abs(np.log(e.estimate.value / e.truth)) if relative else abs(e.estimate.value - e.truth)
            for e in group
        ]
        width = [
            np.log(e.estimate.high / e.estimate.low) if relative else e.estimate.high - e.estimate.low
            for e in group
        ]
        rows[key] = (np.mean([e.covered for e in group]), np.mean(error), np.mean(width), len(group))
        print("{:<12}{:<20} held {:.2f}  error {:.3f}  width {:.3f}  n {}".format(*key, *rows[key]))
    return rows


def test_varied_bids_tell_rivals():
    """Bids that differ by .3 at random: the curve from half to twice the own bid, held as often as said."""
    rows = table(compare(*flown(3, 0.3)))
    held = np.mean([rows["all", f"won at {k:g} x own bid"][0] for k in FACTORS])
    assert held > 0.8
    assert rows["all", "won at 1 x own bid"][1] < 0.04


def test_paced_bids_tell_less_of_rivals():
    """Bids that only follow a pacer: the same lines, wider."""
    rows = table(compare(*flown(3, 0.0)))
    assert np.mean([rows["all", f"won at {k:g} x own bid"][0] for k in FACTORS]) > 0.75


def test_a_rival_that_grows_is_seen_as_a_trend():
    """One rival doubles its strength in mid-flight; in the same worlds without it the trend is smaller."""
    trends = {}
    for family in (DEFAULT, RISING):
        reports, truth = flown(2, 0.3, family)
        names = [line.name for line in LINES]
        for world in range(2):
            logs, _ = line_logs(reports, world)
            for channel in (Channel.SOCIAL, Channel.VIDEO):
                known = [log for log in logs if CHANNELS[log.name] == channel.name.lower()]
                fits = [fit_line(log) for log in known if log.reason_against() is None]
                seen = pooled_change(fits)
                real = [
                    truth.of_line(world, names.index(log.name), log.share.size).weekly_change for log in known
                ]
                trends[family.name, world, channel] = seen
                span = f"{seen.value:+.3f} ({seen.low:+.3f} to {seen.high:+.3f})"
                print(f"{family.name:<8} world {world} {channel.name:<7} {span}; true {np.round(real, 3)}")
    for world in range(2):
        for channel in (Channel.SOCIAL, Channel.VIDEO):
            rising, usual = trends["rising", world, channel], trends["default", world, channel]
            assert rising.low > 0.0 and rising.value > usual.value
