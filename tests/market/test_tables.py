import csv
import gzip
import re
import subprocess
import sys
from collections import Counter, defaultdict
from fractions import Fraction
from importlib.resources import files
from statistics import median

import numpy as np
import pytest

from gaelp.core.errors import UnknownName
from gaelp.market import tables

DATA = files("gaelp.market") / "data"
TABLES = ("hour_of_week.csv", "display_prices.csv", "display_atoms.csv")


def raw_week(shared_data):
    """The source's shares of region 637640 as exact fractions, by (dow, hour)."""
    with gzip.open(shared_data / "hour_of_week" / "avito_traffic_share_dev.csv.gz", "rt") as file:
        rows = [row for row in csv.reader(file) if row[0] == "637640"]
    return {(int(dow), int(hour)): Fraction(share) for _, dow, hour, share in rows}


def price_counts(shared_data):
    counts = Counter()
    with open(shared_data / "ipinyou_landscape" / "market_price_counts.csv") as file:
        for row in csv.DictReader(file):
            counts[int(row["market_price"])] += int(row["train_impressions"])
    return counts


def step(week, day, hour):
    """How much more traffic rises into an hour of that day than on Wednesday to Friday."""
    days = np.asarray(week, dtype=float).reshape(7, 24)
    usual = days[2:5].sum(axis=0)
    return (days[day, hour] / days[day, hour - 1]) / (usual[hour] / usual[hour - 1])


def test_the_hours_are_listed_from_monday_midnight_and_their_shares_sum_to_one():
    lines = [
        line
        for line in (DATA / "hour_of_week.csv").read_text(encoding="utf-8").splitlines()
        if line[0] != "#"
    ]
    rows = list(csv.DictReader(lines))
    assert [(int(row["dow"]), int(row["hour"])) for row in rows] == [
        (dow, hour) for dow in range(1, 8) for hour in range(24)
    ]
    # 168 shares rounded to nine decimals are off by at most 8.4e-8 together.
    assert sum(float(row["share"]) for row in rows) == pytest.approx(1.0, abs=1e-7)


@pytest.mark.parametrize("name", ["flat", "hour_of_week"])
def test_an_hour_table_has_one_positive_value_per_hour_and_mean_one(name):
    week = tables.table(name)
    assert week.shape == (168,) and week.dtype == np.float64
    assert week.mean() == pytest.approx(1.0, abs=1e-12)
    assert week.min() > 0.0


def test_a_misspelt_hour_table_is_refused_with_the_nearest_name():
    with pytest.raises(UnknownName, match="Did you mean 'hour_of_week'"):
        tables.table("hours_of_week")


def test_the_tables_cannot_be_changed_by_a_caller():
    arrays = [tables.table("flat"), tables.hour_of_week()]
    arrays += [*tables.display_price_quantiles(), *tables.display_price_atoms()]
    for array in arrays:
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0.0


def test_the_week_has_no_step_on_monday_or_tuesday_evening():
    week = tables.hour_of_week()
    assert step(week, 0, 19) == pytest.approx(1.0, abs=0.03)
    assert step(week, 1, 19) == pytest.approx(1.0, abs=0.03)
    monday, tuesday, wednesday = week.reshape(7, 24).sum(axis=1)[:3]
    assert tuesday == pytest.approx((monday + wednesday) / 2, rel=1e-6)


def test_prices_never_fall_with_probability_and_are_relative_to_their_median():
    probability, relative_price = tables.display_price_quantiles()
    assert probability == pytest.approx(np.arange(1, 100) / 100)
    assert (np.diff(relative_price) >= 0).all()
    assert relative_price[49] == 1.0


def test_the_larger_an_atom_the_longer_the_quantiles_stand_still_there():
    probability, relative_price = tables.display_price_quantiles()
    for atom, share in zip(*tables.display_price_atoms(), strict=True):
        # A price of mass s covers between s - 0.01 and s + 0.01 of the levels, which are 0.01 apart.
        levels = probability[np.isclose(relative_price, atom, atol=1e-6)]
        assert abs(len(levels) / 100 - share) < 0.01


@pytest.mark.golden
def test_the_source_counts_a_day_from_monday_evening_five_times_instead_of_four(shared_data):
    raw = raw_week(shared_data)
    week = [raw[dow, hour] for dow in range(1, 8) for hour in range(24)]
    assert step(week, 0, 19) == pytest.approx(5 / 4, rel=0.03)
    assert step(week, 1, 19) == pytest.approx(4 / 5, rel=0.03)


@pytest.mark.golden
def test_the_hours_of_the_week_follow_from_the_source(shared_data):
    week = raw_week(shared_data)
    for (dow, hour), share in week.items():
        if (dow, hour) >= (1, 19) and (dow, hour) < (2, 19):
            week[dow, hour] = share * Fraction(4, 5)
    of_day = defaultdict(Fraction)
    for (dow, _), share in week.items():
        of_day[dow] += share
    for hour in range(24):
        week[2, hour] *= (of_day[1] + of_day[3]) / (2 * of_day[2])
    average = sum(week.values()) / 168
    expected = [float(week[dow, hour] / average) for dow in range(1, 8) for hour in range(24)]
    # Nine decimals of a share are 168 * 5e-10 of the mean hour.
    assert tables.hour_of_week() == pytest.approx(expected, abs=1e-7)


@pytest.mark.golden
def test_the_day_matches_the_profile_of_an_earlier_survey():
    # Largest region of the same file, as computed in the project's survey of market facts.
    survey = [0.51, 0.30, 0.18, 0.12, 0.11, 0.13, 0.23, 0.42, 0.74, 1.18, 1.58, 1.72]
    survey += [1.75, 1.74, 1.71, 1.67, 1.61, 1.51, 1.41, 1.32, 1.22, 1.10, 0.98, 0.77]
    # It kept the surplus day, which is a whole day and so hardly bends the daily curve.
    assert tables.hour_of_week().reshape(7, 24).mean(axis=0) == pytest.approx(survey, abs=0.02)


@pytest.mark.golden
def test_the_price_quantiles_follow_from_the_source(shared_data):
    counts = price_counts(shared_data)
    probability, relative_price = tables.display_price_quantiles()
    prices, weights = list(counts.keys()), list(counts.values())
    expected = np.quantile(prices, probability, method="inverted_cdf", weights=weights)
    # Ratios are stored with six decimals.
    assert relative_price == pytest.approx(expected / expected[49], abs=1e-6)


@pytest.mark.golden
def test_the_price_atoms_follow_from_the_source(shared_data):
    counts = price_counts(shared_data)
    total = sum(counts.values())
    middle = next(p for p in range(301) if 2 * sum(counts[q] for q in range(p + 1)) >= total)

    def excess(p):
        near = [*range(p - 5, p), *range(p + 1, p + 6)]
        if counts[p] <= counts[p - 1] or counts[p] <= counts[p + 1]:
            return 0.0
        return counts[p] - median(counts[q] for q in near if 0 <= q <= 300)

    atoms = sorted(sorted(range(1, 300), key=excess, reverse=True)[:12])
    relative_price, share = tables.display_price_atoms()
    # Ratios and shares are stored with six decimals.
    assert relative_price == pytest.approx([p / middle for p in atoms], abs=1e-6)
    assert share == pytest.approx([counts[p] / total for p in atoms], abs=1e-6)


@pytest.mark.golden
def test_the_script_in_the_readme_writes_the_tables_that_ship(shared_data, tmp_path):
    script = re.search(r"```python\n(.*?)```", (DATA / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert script is not None
    subprocess.run([sys.executable, "-c", script[1], shared_data, tmp_path], check=True)
    for name in TABLES:
        assert (tmp_path / name).read_bytes() == (DATA / name).read_bytes()
