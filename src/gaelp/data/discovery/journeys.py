"""Journeys in figures: paths, channels, what follows what, and the rhythm of hours and weekdays.

Rates of journeys are cohort rates, as those of `visitors`: of journeys that opened at least `horizon_days`
before the end, the share that ended with a purchase within `horizon_days`; only touches within it count.
"""

from collections import Counter
from typing import Any, Final

import numpy as np

from gaelp.data.discovery.intervals import Shares, mean, rate
from gaelp.data.discovery.lags import Lags
from gaelp.data.discovery.visitors import Frame
from gaelp.data.patterns.parts import Part
from gaelp.journeys.batch import US_PER_DAY, Ints

LONGEST_PATH: Final = 5
_MOST_PATHS: Final = 20
_FEWEST: Final = 30
"""Journeys below which a path is not listed, and steps below which a step is not."""
_MOST_STEPS: Final = 40
_LENGTHS: Final = (1, 2, 3, 4, 5, 10, 10**9)
_PURCHASE, _STOP = "purchase", "no further touch"


class Journeys:
    """Adds up journeys part by part.

    Args:
        frame: how they are described.
    """

    def __init__(self, frame: Frame) -> None:
        self.frame = frame
        n = len(frame.source.channels)
        self.n = self.touched = self.converted = self.untouched_purchases = 0
        self.purchases = 0
        self.values: dict[str, list[float]] = {}
        self.lag = Lags()
        self._lengths = np.zeros((2, len(_LENGTHS)), np.int64)  # all, converted
        self._sums = np.zeros((2, 3))  # not converted, converted: journeys, touches, squares
        self._first, self._last, self._any = (np.zeros((2, n), np.int64) for _ in range(3))
        self._touches, self._visitors = np.zeros(n, np.int64), np.zeros(n, np.int64)
        self._steps = tuple(Shares(n + 2) for _ in range(n))
        self._paths: Counter[tuple[int, ...]] = Counter()
        self._sold: Counter[tuple[int, ...]] = Counter()
        self._rhythm = {"hour": (Shares(24), Shares(24)), "weekday": (Shares(7), Shares(7))}
        exposure = frame.zone.exposure(frame.source.begin_us, frame.source.end_us)
        self._exposure = dict(zip(("hour", "weekday"), exposure, strict=True))

    def add(self, part: Part) -> None:
        """Take some people."""
        lives, cuts, end_us = part.lives, part.cuts, self.frame.source.end_us
        sold = cuts.conversion >= 0
        self.n += sold.size
        self.touched += int((cuts.n_touches > 0).sum())
        self.converted += int((sold & (cuts.n_touches > 0)).sum())
        self.untouched_purchases += int((sold & (cuts.n_touches == 0)).sum())
        self._add_values(part)
        self._add_rhythm(part)
        touched = np.flatnonzero(cuts.n_touches > 0)
        if not touched.size:
            return
        row, journey = part.rows_of(touched)
        ended_us = np.where(sold, lives.at_us[cuts.conversion], end_us)
        onward = np.full(sold.size, end_us)  # a person's next journey ends the watch of this one
        same = cuts.person[1:] == cuts.person[:-1]
        onward[:-1][same] = cuts.opened_us[1:][same]
        self.lag.add(np.maximum(np.where(sold, ended_us, onward) - cuts.last_us, 0)[touched], sold[touched])
        self._touches += np.bincount(lives.channel[row], minlength=self._touches.size)
        met = np.unique(lives.person[row] * self._touches.size + lives.channel[row]) % self._touches.size
        self._visitors += np.bincount(met, minlength=self._touches.size)
        self._add_steps(lives.channel[row], journey, sold[touched], lives.person[row])
        horizon_us = int(self.frame.horizon_days * US_PER_DAY)
        opened = cuts.opened_us[touched]
        ripe = end_us - opened >= horizon_us
        bought = sold[touched] & (ended_us[touched] - opened <= horizon_us)
        kept = ripe[journey] & (lives.at_us[row] - opened[journey] <= horizon_us)
        self._add_cohort(lives.channel[row][kept], journey[kept], bought)

    def as_dict(self) -> dict[str, Any]:
        """The section `journeys` of the JSON."""
        every, converted = self._lengths
        upper = ["1", "2", "3", "4", "5", "6 to 10", "11 or more"]
        return {
            "n": self.n,
            "with_touches": self.touched,
            "converted_with_touches": self.converted,
            "purchases_without_touch": self.untouched_purchases,
            "conversion": rate(int(converted.sum()), int(every.sum())),
            "touches": {
                name: mean(int(n), total, squares)
                for name, (n, total, squares) in zip(
                    ("not_converted", "converted"), self._sums.tolist(), strict=True
                )
            },
            "by_touches": [{"touches": name, **rate(converted[i], every[i])} for i, name in enumerate(upper)],
            "paths": self._top_paths(),
        }

    def channels(self) -> list[dict[str, Any]]:
        """The section `channels`: by name, the one with most touches first."""
        touches, visitors = self._touches, self._visitors
        names, total = self.frame.source.channels, max(int(touches.sum()), 1)
        order = [i for i in np.argsort(-touches, kind="stable").tolist() if touches[i]]
        return [
            {
                "channel": names[i],
                "touches": int(touches[i]),
                "share_of_touches": int(touches[i]) / total,
                "visitors": int(visitors[i]),
                "journeys_begun_by_it": rate(self._first[1, i], self._first[0, i]),
                "journeys_last_touched_by_it": rate(self._last[1, i], self._last[0, i]),
                "journeys_with_it": rate(self._any[1, i], self._any[0, i]),
            }
            for i in order
        ]

    def steps(self) -> list[dict[str, Any]]:
        """The section `channel_patterns`: what follows a touch, and how much oftener than it follows any."""
        names = [*self.frame.source.channels, _PURCHASE, _STOP]
        steps = np.array([each.events for each in self._steps]).reshape(-1, len(names))
        usual = steps.sum(axis=0) / max(steps.sum(), 1)
        found: list[dict[str, Any]] = []
        for i, shares in enumerate(self._steps):
            begun, (low, high) = int(steps[i].sum()), shares.intervals()
            for j in np.flatnonzero(steps[i] >= _FEWEST).tolist():
                told = {"from": names[i], "to": names[j], "n": int(steps[i, j]), "of": begun}
                told |= {"share": float(shares.share[j]), "low": float(low[j]), "high": float(high[j])}
                found.append({**told, "lift": float(shares.share[j] / usual[j])})
        return sorted(found, key=lambda each: (-each["n"], each["from"], each["to"]))[:_MOST_STEPS]

    def rhythm(self) -> dict[str, Any]:
        """The section `rhythm`: shares of touches and of purchases by hour and weekday.

        Shares are those of hours, or days, of each kind: one that passed more often has no more of them.
        """
        told: dict[str, Any] = {}
        for name, both in self._rhythm.items():
            spans = [(each.share, *each.intervals()) for each in both]
            told[name] = [
                {
                    name: i,
                    "passed": float(self._exposure[name][i]),
                    **{
                        what: _bin(*(ends[i] for ends in span))
                        for what, span in zip(("touches", "purchases"), spans, strict=True)
                    },
                }
                for i in range(both[0].events.size)
            ]
        return told

    def _add_values(self, part: Part) -> None:
        lives = part.lives
        rows = np.flatnonzero(lives.converts)
        self.purchases += rows.size
        for code in np.unique(lives.currency[rows]).tolist():
            usd = lives.value_micros[rows][lives.currency[rows] == code] / 1e6
            sums = self.values.setdefault(self.frame.source.currencies[code], [0, 0.0, 0.0])
            for i, each in enumerate((usd.size, usd.sum(), (usd**2).sum())):
                sums[i] += float(each)

    def _add_rhythm(self, part: Part) -> None:
        lives, source = part.lives, self.frame.source
        hour, weekday, _ = self.frame.zone.local_hours(lives.at_us, source.begin_us, source.end_us)
        for name, place in (("hour", hour), ("weekday", weekday)):
            for shares, rows in zip(self._rhythm[name], (~lives.converts, lives.converts), strict=True):
                counts = np.zeros((part.n_people, shares.events.size))
                np.add.at(counts, (lives.person[rows], place[rows]), 1.0)
                shares.add(counts / np.maximum(self._exposure[name], 0.25))

    def _add_steps(self, channel: Ints, journey: Ints, sold: Any, person: Ints) -> None:
        """What follows each touch; the last of a journey is followed by a purchase or by nothing."""
        n = len(self._steps)
        last = np.append(journey[1:] != journey[:-1], True)
        after = np.where(last, np.where(sold[journey], n, n + 1), np.append(channel[1:], 0))
        for i in np.unique(channel).tolist():
            mine = channel == i
            own, code = np.unique(person[mine], return_inverse=True)
            counts = np.bincount(code * (n + 2) + after[mine], minlength=own.size * (n + 2))
            self._steps[i].add(counts.reshape(-1, n + 2).astype(float))

    def _add_cohort(self, channel: Ints, journey: Ints, bought: Any) -> None:
        """Journeys of the cohort: their touches within the horizon, and which were bought."""
        if not journey.size:
            return
        starts = np.flatnonzero(np.append(True, journey[1:] != journey[:-1]))
        ends = np.append(starts[1:], journey.size)
        size = ends - starts
        won = bought[journey[starts]]
        for counts, codes in ((self._first, channel[starts]), (self._last, channel[ends - 1])):
            counts[0] += np.bincount(codes, minlength=counts.shape[1])
            counts[1] += np.bincount(codes[won], minlength=counts.shape[1])
        pairs = np.unique(np.stack((np.repeat(np.arange(size.size), size), channel)), axis=1)
        np.add.at(self._any[0], pairs[1], 1)
        np.add.at(self._any[1], pairs[1][won[pairs[0]]], 1)
        place = np.searchsorted(_LENGTHS, size)
        self._lengths[0] += np.bincount(place, minlength=len(_LENGTHS))
        self._lengths[1] += np.bincount(place[won], minlength=len(_LENGTHS))
        for i in (0, 1):
            of = size[won == bool(i)].astype(float)
            self._sums[i] += (of.size, of.sum(), (of**2).sum())
        turns = np.append(True, (channel[1:] != channel[:-1]) | (journey[1:] != journey[:-1]))
        kept, owner = channel[turns].tolist(), np.repeat(np.arange(size.size), size)[turns]
        stops = np.append(np.flatnonzero(owner[1:] != owner[:-1]) + 1, owner.size).tolist()
        begin = 0
        for stop, is_won in zip(stops, won.tolist(), strict=True):
            path = tuple(kept[max(begin, stop - LONGEST_PATH) : stop])
            path = (-1, *path) if stop - begin > LONGEST_PATH else path
            self._paths[path] += 1
            if is_won:
                self._sold[path] += 1
            begin = stop

    def _top_paths(self) -> list[dict[str, Any]]:
        names = self.frame.source.channels
        order = sorted(self._paths.items(), key=lambda each: (-each[1], each[0]))[:_MOST_PATHS]
        return [
            {"path": ["…" if i < 0 else names[i] for i in path], **rate(self._sold[path], n)}
            for path, n in order
            if n >= _FEWEST
        ]


def _bin(share: float, low: float, high: float) -> dict[str, float | None]:
    if not np.isfinite(share):
        return {"share": None, "low": None, "high": None}
    return {"share": float(share), "low": float(low), "high": float(high)}
