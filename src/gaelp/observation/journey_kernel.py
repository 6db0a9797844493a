"""The compiled half of the journey features: one pass over a person's visible events for each decision.

This file stands alone because every kernel's cache is named by the sources that kernels reach: the table, the
inputs and the statistics of `journey.py` can change without a market being compiled again. Every sum fades by
powers of one factor with a half-life of four weeks, so that an event costs one exponential.
"""

import math

import numpy as np
from numpy.typing import NDArray

from gaelp.core.jit import jit
from gaelp.core.words import LINES, NO_LINE, Channel, Query, TouchKind

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bytes = NDArray[np.uint8]

N_JOURNEY, N_ACCOUNT = 27, 14
"""Columns of journey and user, and of market and budget."""
N_FIGURES = 11
SPEND, COST, AT_BID, VIEWS, CLICKS, SHARE, SOLD_WEEK, TODAY, MONTH, DAILY, MONTHLY = range(N_FIGURES)
"""Figures of an account's hour, by their place."""
WEEK_HOURS = 168.0
TIMEOUT_HOURS = 30 * 24.0
"""A journey ends after so long without a touch."""
URGENT_HOURS, URGENT_TOUCHES = 72.0, 2
COMPARING_HOURS, COMPARING_TOUCHES = 168.0, 3
KEEN_TOUCHES, PASSIVE_VIEWS = 4, 5
RETURN_HOURS = 24.0

_SHARE_COLUMN = 7  # of an account's row
_FADE = math.log(2.0) / (4.0 * 168.0)
_DAY, _WEEK = (0.5 ** (1.0 / hours) for hours in (24.0, 168.0))
_LN2 = math.log(2.0)
_NAN = np.nan
_QUERY = np.array([-1 if line.query is None else int(line.query) for line in LINES])
_N_LINES = len(LINES)
_OWN, _RIVAL = int(Query.OWN_BRAND), int(Query.RIVAL_BRAND)
_SEARCH, _ORGANIC = int(Channel.SEARCH), int(Channel.ORGANIC)
_EMAIL = int(Channel.EMAIL)
_IMPRESSION, _CLICK, _VISIT, _SEARCHED, _OPENED, _BOUGHT = (int(kind) for kind in TouchKind)
_N_CHANNELS = len(Channel)
assert NO_LINE >= _N_LINES


@jit
def _level(views: int, came: int, back: bool, brand: bool) -> int:
    """How far a journey has visibly come: 0 nowhere, 1 shown, 2 came, 3 came back, 4 keen."""
    if came >= KEEN_TOUCHES or brand:
        return 4
    if back:
        return 3
    if came > 0:
        return 2
    return 1 if views > 0 else 0


@jit
def _ones(bits: int) -> int:
    n = 0
    while bits:
        bits &= bits - 1
        n += 1
    return n


@jit
def account_rows(
    figures: Floats, hour_of_week: Ints, day_of_year: Ints, month_gone: Floats, gone: Floats, value: Floats
) -> Floats:
    """Market and budget features as each hour begins.

    Args:
        figures: (n_worlds, n_hours, N_FIGURES) in the order above.
        hour_of_week, day_of_year, month_gone: (n_hours,).
        gone: (n_worlds, 168) share of the day's expected cost that lies behind an hour.
        value: (n_worlds,) USD of a conversion.

    Returns:
        (n_worlds, n_hours, N_ACCOUNT) raw features, NaN where not known.
    """
    n_worlds, n_hours = figures.shape[:2]
    out = np.empty((n_worlds, n_hours, N_ACCOUNT))
    day, week = np.empty(4), np.empty(4)
    for w in range(n_worlds):
        day[:] = 0.0
        week[:] = 0.0
        spent_week = 0.0
        for h in range(n_hours):
            f, row = figures[w, h], out[w, h]
            for i in range(4):  # cost, at_bid, views, clicks
                news = 0.0 if math.isnan(f[COST + i]) else f[COST + i]
                day[i] = _DAY * day[i] + news
                week[i] = _WEEK * week[i] + news
            spent_week += f[SPEND]
            if h >= WEEK_HOURS:
                spent_week -= figures[w, h - int(WEEK_HOURS), SPEND]
            hour = hour_of_week[h]
            turn = 2.0 * math.pi * day_of_year[h] / 365.0
            row[0] = 1 + hour % 24
            row[1] = 1 + hour // 24
            row[2] = 1 + hour // 6
            row[3] = math.sin(turn)
            row[4] = math.cos(turn)
            priced = day[0] > 0.0 and day[3] > 0.0
            row[5] = math.log(day[0] / day[3] * week[3] / week[0]) if priced else _NAN
            rate = (day[3] + 0.5) / (day[2] + 50.0) * (week[2] + 50.0) / (week[3] + 0.5)
            row[6] = math.log(rate) if week[2] > 0.0 else _NAN
            row[_SHARE_COLUMN] = f[SHARE]
            row[8] = math.log(day[0] / day[1]) if day[0] > 0.0 and day[1] > 0.0 else _NAN
            today = f[TODAY] / f[DAILY] if f[DAILY] > 0.0 else _NAN
            month = f[MONTH] / f[MONTHLY] if f[MONTHLY] > 0.0 else _NAN
            row[9] = 1.0 - today
            row[10] = 1.0 - month
            row[11] = today - gone[w, hour]
            row[12] = month - month_gone[h]
            earned = (f[SOLD_WEEK] + 1.0) * value[w]
            row[13] = math.log(earned / (max(spent_week, 0.0) + value[w]))
    return out


@jit
def journey_rows(
    offsets: Ints, hour: Floats, shown: Floats, kind: Bytes, channel: Bytes, line: Bytes, device: Bytes,
    login: Bytes, cost: Floats, confidence: Floats, told: NDArray[np.bool_], account: Floats, start: int,
    person: Ints, world: Ints, at: Floats, out: NDArray[np.float32],
) -> None:  # fmt: skip
    """Write one row of all features for each decision.

    Args:
        offsets: (n_people + 1,); hour to confidence: (n_events,), as in `SeenEvents`.
        told: (n_worlds, n_channels, n_kinds) which events are seen person by person.
        account: (n_worlds, n_hours, N_ACCOUNT) of `account_rows`. start: hour of its first row.
        person, world, at: (n,) who (-1 a stranger), where, when.
        out: (n, N_JOURNEY + N_ACCOUNT).
    """
    n_worlds = told.shape[0]
    sees = np.zeros((n_worlds, 3), np.bool_)  # views; who came; sales
    for w in range(n_worlds):
        for c in range(_N_CHANNELS):
            sees[w, 0] |= told[w, c, _IMPRESSION] or told[w, c, _OPENED]
            sees[w, 1] |= told[w, c, _CLICK] or told[w, c, _VISIT] or told[w, c, _SEARCHED]
            sees[w, 2] |= told[w, c, _BOUGHT]
    for i in range(at.size):
        row, w, t = out[i], world[i], at[i]
        begin = end = 0
        if person[i] >= 0:
            begin, end = offsets[person[i]], offsets[person[i] + 1]
        # of the journey: starts anew after a purchase or a long silence
        n = views = clicks = visits = came = exposures = channels = billed = priced = 0
        first = last = first_came = spent = 0.0
        back = brand = False
        c1 = c2 = c3 = last_kind = 0
        before, before_known = 0, False
        # of the person
        known = bought = all_views = all_came = searches = queries = own_queries = recent = recent_search = 0
        all_channels = devices = last_device = logins = surely = 0
        all_first_came = all_last_came = sure = 0.0
        f_day = f_week = f_urgent = f_views = f_offers = f_answers = 0.0
        for j in range(begin, end):
            if shown[j] > t:
                continue
            h, k, c = hour[j], int(kind[j]), int(channel[j])
            known += 1
            logins += login[j]
            if device[j] < 3:
                last_device = 1 + int(device[j])
                devices |= 1 << int(device[j])
            if not math.isnan(confidence[j]):
                surely += 1
                sure += confidence[j]
            fade = math.exp(-_FADE * (t - h))
            fade4 = fade * fade * fade * fade
            if k == _BOUGHT or (n > 0 and h - last > TIMEOUT_HOURS):
                n = views = clicks = visits = came = exposures = channels = billed = priced = 0
                spent = 0.0
                back = brand = False
                c1 = c2 = c3 = last_kind = before = 0
            if not before_known and h > t - WEEK_HOURS:
                before, before_known = _level(views, came, back, brand), True
            if k == _BOUGHT:
                bought += 1
                f_answers += fade
                f_urgent = 0.0  # the need is met
                continue
            if n == 0:
                first = h
            last = h
            n += 1
            c1, c2, c3 = 1 + c, c1, c2
            last_kind = 1 + k
            channels |= 1 << c
            if c <= _EMAIL and (k == _IMPRESSION or k == _CLICK or k == _OPENED):
                billed += 1
                if not math.isnan(cost[j]):
                    priced += 1
                    spent += cost[j]
            if k == _IMPRESSION or k == _OPENED:
                views += 1
                exposures += 1
                all_views += 1
                f_views += fade4
                f_offers += fade
                continue
            if k == _CLICK:
                clicks += 1
                if c <= _EMAIL and not (told[w, c, _IMPRESSION] or told[w, c, _OPENED]):
                    exposures += 1
            else:
                visits += 1
            query = _QUERY[line[j]] if line[j] < _N_LINES else -1
            if query >= 0:
                queries += 1
                own_queries += query == _OWN
                brand |= query == _OWN
            if came == 0:
                first_came = h
            came += 1
            back |= h - first_came >= RETURN_HOURS
            by_search = c == _SEARCH or c == _ORGANIC or k == _SEARCHED
            searches += by_search
            if all_came == 0:
                all_first_came = h
            all_came += 1
            all_last_came = h
            all_channels |= 1 << c
            if t - h <= URGENT_HOURS:
                recent += 1
                recent_search += by_search
            fade8 = fade4 * fade4
            f_week += fade4
            f_day += fade8 * fade8 * fade8 * fade4
            f_urgent += 2.0 * fade8 if by_search else fade8
            if query == _RIVAL:
                f_offers += fade
            else:
                f_answers += fade
        if n > 0 and t - last > TIMEOUT_HOURS:
            n = views = clicks = visits = came = exposures = channels = billed = priced = 0
            spent = 0.0
            back = brand = False
            c1 = c2 = c3 = last_kind = before = 0
            before_known = True
        level = _level(views, came, back, brand)
        if not before_known:
            before = level
        index = math.floor(t) - start
        share = account[w, index, _SHARE_COLUMN]
        sees_views, sees_came, sees_sales = sees[w, 0], sees[w, 1], sees[w, 2]
        row[0] = c1
        row[1] = c2
        row[2] = c3
        row[3] = last_kind
        row[4] = math.log1p((t - first) / 24.0) if n > 0 else _NAN
        row[5] = math.log1p((t - last) / 24.0) if n > 0 else _NAN
        row[6] = math.log1p(n) if sees_views or sees_came else _NAN
        row[7] = math.log1p(views) if sees_views else _NAN
        row[8] = math.log1p(clicks) if sees_came else _NAN
        row[9] = math.log1p(visits) if sees_came else _NAN
        row[10] = _ones(channels) / 8.0 if sees_views or sees_came else _NAN
        row[11] = math.log1p(spent) if n > 0 and (priced > 0 or billed == 0) else _NAN
        row[12] = math.log1p(exposures * (1.0 - share) / share) if n > 0 and share > 0.0 else _NAN
        row[13] = 5 if level == 0 and bought > 0 else level
        row[14] = (level - before) / 4.0 if n > 0 else _NAN
        trend = math.log((_LN2 * f_day + 0.1) / (_LN2 / 7.0 * f_week + 0.1))
        row[15] = trend if known > 0 and sees_came else _NAN
        segment = 0
        if bought > 0:
            segment = 5
        elif recent >= URGENT_TOUCHES and recent_search > 0:
            segment = 1
        elif (
            all_came >= COMPARING_TOUCHES
            and _ones(all_channels) >= 2
            and all_last_came - all_first_came >= COMPARING_HOURS
        ):
            segment = 2
        elif all_came > 0:
            segment = 3
        elif all_views >= PASSIVE_VIEWS:
            segment = 4
        row[16] = segment
        row[17] = math.log1p(f_views) if known > 0 and sees_views else _NAN
        offered = known > 0 and sees_views and sees_came
        row[18] = math.log((f_offers + 1.0) / (f_answers + 1.0)) if offered else _NAN
        row[19] = math.log1p(f_urgent) if known > 0 and sees_came else _NAN
        row[20] = math.log1p(bought) if sees_sales else _NAN
        row[21] = last_device
        row[22] = _ones(devices) / 3.0 if devices > 0 else _NAN
        row[23] = 0 if known == 0 else (2 if logins > 0 else 1)
        row[24] = sure / surely if surely > 0 else _NAN
        row[25] = searches / all_came if all_came > 0 else _NAN
        row[26] = own_queries / queries if queries > 0 else _NAN
        for a in range(N_ACCOUNT):
            row[N_JOURNEY + a] = account[w, index, a]
