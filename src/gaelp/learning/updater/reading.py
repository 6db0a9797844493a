"""What an episode tells, as arrays: visits with what came of them, visitors, reports of its ads.

The events go through the same loader as a company's export, so a visit is a session, channels and devices
have GA4's names, and a sale told twice is one.
"""

import datetime as dt
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gaelp.core.words import LINES, Channel
from gaelp.data.ad_report import COUNTS, AdReport, read_ad_report
from gaelp.data.discovery.lives import opened
from gaelp.data.discovery.visitors import Frame, Visitors, visitors_of
from gaelp.data.discovery.zone import find_zone
from gaelp.data.ga4.purchases import Rules
from gaelp.data.patterns.parts import Part
from gaelp.journeys.batch import US_PER_DAY, Ints
from gaelp.worlds.ga4_export import ADS, EVENTS_FOLDER
from gaelp.worlds.reports import REPORTS, line_logs, read_reports

Bools = NDArray[np.bool_]

BINS_AN_OCTAVE = 4
"""Bids are counted in steps of a quarter of an octave, 19 %."""
_ADS = COUNTS[:3]  # conversions are those of visits


@dataclass(frozen=True, kw_only=True, eq=False)
class Told:
    """What an episode tells.

    Attributes:
        channels, devices: names by code.
        traits: distinct patterns of traits, by the names of discovery; what is not told is missing.
        pattern: (n_visitors,) index into `traits`. visitors: them.
        visitor: (n_visits,) index of whose. channel, device: (n_visits,) codes.
        before: (n_visits,) visits that the visitor had made before.
        ripe: (n_visits,) at least the horizon before the end. bought: (n_visits,) bought within it.
        reports: sums of impressions, clicks and cost by line, and of impressions and clicks of cells that
            do not tell the other; of eligible auctions and wins by channel and bin of the bid, see `bid_of`.
            Keys as in `counts.Counts`.
        revenue_micros: of all purchases.
        ad_rows_outside: rows of the ad reports on days outside of the tables, left out.
    """

    channels: list[str]
    devices: list[str]
    traits: list[dict[str, str]]
    pattern: Ints
    visitors: Visitors
    visitor: Ints
    channel: Ints
    device: Ints
    before: Ints
    ripe: Bools
    bought: Bools
    reports: Counter[tuple[str, ...]]
    revenue_micros: int
    ad_rows_outside: int


def read_told(folders: Sequence[Path], now: dt.datetime, horizon_days: float) -> Told:
    """What the episodes of one stream tell together.

    Args:
        folders: as `Episodes` keeps them, oldest first. now: nothing may lie after it.
        horizon_days: within which a purchase counts for a visit.

    Raises:
        BadInput: a file cannot be read, or nothing happened.
    """
    with tempfile.TemporaryDirectory(prefix="gaelp-updater-") as place:
        pool(Path(place), folders)
        with opened(Path(place), None, now, Rules(), lambda _what, _share: None) as source:
            frame = Frame.of_source(source, find_zone(None, source.dates), horizon_days)
            found = [(part, visitors_of(part, frame)) for part in source.parts()]
    reports, n_outside = _reports(folders, source.dates.ends())
    visits: list[tuple[Ints, ...]] = []
    n, revenue = 0, 0
    for part, visitors in found:
        of_person, columns = _visits(part, frame)
        visits.append((n + of_person, *columns))
        n += visitors.bought.size
        revenue += int(part.lives.value_micros[part.lives.converts].sum())
    joined = Visitors.joined([visitors for _, visitors in found])
    visitor, channel, device, before, at_us, next_us = map(np.concatenate, zip(*visits, strict=True))
    horizon_us = int(horizon_days * US_PER_DAY)
    codes, pattern = np.unique(joined.traits, axis=0, return_inverse=True)
    return Told(
        channels=source.channels,
        devices=source.devices,
        traits=[_named(row, frame) for row in codes.tolist()],
        pattern=pattern.ravel(),
        visitors=joined,
        visitor=visitor,
        channel=channel,
        device=device,
        before=before,
        ripe=source.end_us - at_us >= horizon_us,
        bought=(next_us >= 0) & (next_us - at_us <= horizon_us),
        reports=reports,
        revenue_micros=revenue,
        ad_rows_outside=n_outside,
    )


def pool(place: Path, folders: Sequence[Path]) -> None:
    """Put the events of several episodes under one folder, by links.

    Args:
        place: an empty folder. folders: of episodes.
    """
    for folder in folders:
        for file in sorted(each for each in (folder / EVENTS_FOLDER).rglob("*") if each.is_file()):
            link = place / folder.name / file.relative_to(folder)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(file.resolve())


def bid_of(step: int) -> float:
    """USD at the middle of a bin of bids; `bin_of` is its inverse.

    >>> bin_of(bid_of(-7)), bid_of(0)
    (-7, 1.0)
    """
    return float(2.0 ** (step / BINS_AN_OCTAVE))


def bin_of(bid_usd: float) -> int:
    """The bin of a bid above 0."""
    return round(float(np.log2(bid_usd)) * BINS_AN_OCTAVE)


def _named(codes: Sequence[int], frame: Frame) -> dict[str, str]:
    pairs = zip(codes, frame.traits, strict=True)
    return {trait.name: trait.categories[code] for code, trait in pairs if code >= 0}


def _visits(part: Part, frame: Frame) -> tuple[Ints, tuple[Ints, ...]]:
    """Visitor of each visit; and its channel, device, place among the visitor's, moment, next purchase."""
    lives = part.lives
    visit, sale = np.flatnonzero(~lives.converts), np.flatnonzero(lives.converts)
    person = lives.person[visit]
    _, first, visitor = np.unique(person, return_index=True, return_inverse=True)
    after = np.searchsorted(sale, visit)  # rows are by person and time, touches first at equal times
    has = after < sale.size
    next_sale = sale[np.minimum(after, max(sale.size - 1, 0))] if sale.size else np.zeros_like(visit)
    has &= lives.person[next_sale] == person
    next_us = np.where(has, lives.at_us[next_sale], -1)
    before = np.arange(visit.size) - first[visitor]
    return visitor, (lives.channel[visit], part.device[visit], before, lives.at_us[visit], next_us)


def _reports(folders: Sequence[Path], days: tuple[dt.date, dt.date]) -> tuple[Counter[tuple[str, ...]], int]:
    """Sums of ad reports on the days of the tables, and rows of other days.

    A cell that a later episode of the stream tells replaces an earlier one's; an empty cell tells nothing.
    """
    told: dict[tuple[str, ...], dict[str, int]] = {}
    counts: Counter[tuple[str, ...]] = Counter()
    n_outside = 0
    for folder in folders:
        if (folder / ADS).is_file():
            report, n = read_ad_report(folder / ADS, by=("hour", "line")).within(*days)
            for key, row in _ads(report).items():
                told.setdefault(key, {}).update(row)
            n_outside += n
        if (folder / REPORTS).is_file():
            counts.update(_auctions(folder))
    for (*_, line), row in told.items():
        for what, n in row.items():
            counts[what, line] += n
        for what, other in (("impressions", "clicks"), ("clicks", "impressions")):
            if what in row and other not in row:
                counts[f"{what}_alone", line] += row[what]
    return counts, n_outside


def _ads(report: AdReport) -> dict[tuple[str, ...], dict[str, int]]:
    """Counts by date, hour, channel and line; those that are not told are missing."""
    names = [Channel(code).name.lower() for code in report.channel.tolist()]
    columns = (report.date.astype(str).tolist(), report.hour.astype(str).tolist(), names, report.line)
    return {
        cell: {name: int(n) for name, n in zip(_ADS, row, strict=False) if not np.isnan(n)}
        for cell, row in zip(zip(*columns, strict=True), report.counts.tolist(), strict=True)
    }


def _auctions(folder: Path) -> Counter[tuple[str, ...]]:
    """Wins and eligible auctions by channel and bid, of days that tell both."""
    channels = {line.name: line.channel.name.lower() for line in LINES}
    counts: Counter[tuple[str, ...]] = Counter()
    reports = read_reports(folder)
    for world in range(reports["bid_usd"].shape[0]):
        for log in line_logs(reports, world)[0]:
            for day in np.flatnonzero(log.told & log.all_day).tolist():
                on = log.on[day]
                bid = float(np.exp(np.log(log.bid[day][on]).mean()))
                key = (channels[log.name], str(bin_of(bid)))
                counts["won", *key] += int(log.won[day])
                counts["eligible", *key] += round(float(log.eligible[day]))
    return counts
