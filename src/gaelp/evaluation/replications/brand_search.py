"""Own-brand search: what comes anyway when the ads are silent, against what the last click claims for them.

Source: Blake, Nosko, Tadelis, "Consumer Heterogeneity and Paid Search Effectiveness: A Large-Scale Field
Experiment", Econometrica 83(1), 2015, 155-174 (NBER Working Paper 20171): eBay stopped its ads on searches
for its own name; organic results kept 99.5 % of the clicks. With competitors on the name:
Simonov, Nosko, Rao, "Competition and Crowd-Out for Brand Keywords in Sponsored Search", Marketing Science
37(2), 2018, 200-215.
"""

from collections.abc import Mapping

import numpy as np

from gaelp.core.units import MICROS_PER_USD
from gaelp.core.words import LINES, NO_LINE, Channel, Query
from gaelp.evaluation import report_charts as charts
from gaelp.evaluation.intervals import Interval, mean_interval, ratio_of_sums_interval
from gaelp.evaluation.replications.answer import Answer, ends, paragraphs, rows_of, scaled, share_not
from gaelp.evaluation.replications.flights import OWN_BRAND, bought, lives
from gaelp.evaluation.task_flights import Floats, Flown, Task, Terms, fly_task
from gaelp.market.file import MarketFile
from gaelp.market.market import Market
from gaelp.market.state import CLICKS, SPEND
from gaelp.worlds.flight import Tick
from gaelp.worlds.twins import ALL_LINES, attributed_by_line

LIVES = 3
"""Lives of each world: the flight, the twin without own-brand ads, the twin without ads."""
PAPER_CLICKS_BACK = 0.995
_BRAND, _ACCOUNT, _PAPER = "own-brand search", "whole account", "eBay"
_CONQUEST = np.array([line.query is Query.RIVAL_BRAND for line in LINES])  # ours is a rival's name to them


def fly(task: Task[Terms], tick: Tick) -> dict[str, Floats]:
    """Fly worlds, and again without own-brand ads and without all.

    Args:
        task: what to fly. tick: told the world-hours done.

    Returns:
        (n_worlds,) each: `clicks` on own-brand ads, `organic_back` (visits through organic results that the
        silent twin has beyond the flight), `visits_lost` (visits of any kind that it has less), `attributed`
        and `all_attributed` (sales decided in the flight, by the last click within 30 days, as an account
        counts them; `caused` counts those of the run-off too), `same_buyers` (of `attributed`, bought
        by somebody who buys in the twin too), `caused` and `all_caused`, `spend_usd` and `all_spend_usd`,
        `rivals` (that bid for our name, mean over days and devices).
    """
    flown = fly_task(task, tick)
    flight, market = flown.flight, flown.after
    quiet = flown.without(OWN_BRAND, tick)
    more = (quiet.books.visits - market.books.visits)[:, 0].astype(float)  # (n_worlds, n_channels)
    end = flight.start + flight.hours
    claimed = attributed_by_line(market, flight.start, end, market.hour)
    spend = flight.report[..., SPEND] / MICROS_PER_USD
    return {
        "clicks": flight.report[:, OWN_BRAND, CLICKS].sum(axis=1).astype(float),
        "organic_back": more[:, Channel.ORGANIC],
        "visits_lost": -more.sum(axis=1),
        "attributed": claimed[:, OWN_BRAND].sum(axis=1),
        "same_buyers": _same_buyers(flown, quiet, end),
        "caused": flown.caused(quiet),
        "spend_usd": spend[:, OWN_BRAND].sum(axis=1),
        "all_attributed": claimed.sum(axis=1),
        "all_caused": flown.caused(flown.without(ALL_LINES, tick)),
        "all_spend_usd": spend.sum(axis=1),
        "rivals": _rivals_on_our_name(flown),
    }


def _same_buyers(flown: Flown, quiet: Market, end: int) -> Floats:
    start, own = flown.flight.start, np.flatnonzero(OWN_BRAND)
    found = np.zeros(quiet.n_worlds)
    for w in range(quiet.n_worlds):
        made = bought(flown.after, w, start)
        made = made[(made["hour"] < end) & (made["line"] != NO_LINE) & np.isin(made["line"], own)]
        found[w] = np.isin(lives(made), lives(bought(quiet, w, start))).sum()
    return found


def _rivals_on_our_name(flown: Flown) -> Floats:
    bid = flown.flight.replay_bid[..., _CONQUEST]  # (days, n_worlds, n_rivals, devices)
    reserve = flown.snapshot.rules["search_reserve_usd"][:, Query.OWN_BRAND]
    bidding: Floats = (bid >= reserve[:, None, None]).sum(axis=2).mean(axis=(0, 2))
    return bidding


def answer(sums: Mapping[str, Floats], file: MarketFile, terms: Terms) -> Answer:
    """What the worlds say of own-brand ads.

    Args:
        sums: of `fly`, all worlds. file: the market. terms: as flown.
    """
    seed = terms.seed
    clicks = sums["clicks"]
    brand = {
        "clicks_back_share": ratio_of_sums_interval(sums["organic_back"], clicks, seed=seed),
        "visits_back_share": share_not(sums["visits_lost"], clicks, seed),
        "same_buyers_share": ratio_of_sums_interval(sums["same_buyers"], sums["attributed"], seed=seed),
        "rivals_bidding": mean_interval(sums["rivals"], seed=seed),
        **_worth(sums, "", file.ltv_usd, seed),
    }
    account = _worth(sums, "all_", file.ltv_usd, seed)
    lost = share_not(sums["organic_back"], clicks, seed)
    return Answer(
        title="Own-brand search: paid for what comes anyway",
        paper="Blake, Nosko, Tadelis, Econometrica 83(1), 2015",
        claim="When eBay stopped its ads on searches for its own name, organic results kept 99.5 % of the "
        "clicks, and no effect on sales could be measured.",
        columns=(_BRAND, _ACCOUNT, _PAPER),
        rows=rows_of(_ROWS, {_BRAND: brand, _ACCOUNT: account, _PAPER: _AT_EBAY}),
        found=paragraphs(
            _FOUND,
            back=ends(brand["clicks_back_share"], "_share"),
            cost=ends(brand["attributed_cac_usd"], "_usd"),
            true_cost=ends(brand["incremental_cac_usd"], "_usd"),
            all_true_cost=ends(account["incremental_cac_usd"], "_usd"),
            same=ends(brand["same_buyers_share"], "_share"),
        ),
        differs=paragraphs(
            _DIFFERS,
            lost=ends(lost, "_share"),
            bidding=f"{brand['rivals_bidding'].mean or 0.0:.2g}",
            rivals=len(file.rivals),
        ),
        figure=_figure(brand),
        caption="What of the own-brand ads' clicks and sales comes without them; dots are means over worlds.",
    )


def _worth(sums: Mapping[str, Floats], whose: str, ltv_usd: float, seed: int) -> dict[str, Interval]:
    """What ads are credited with, cause and cost, by row of the table."""
    claimed, caused, spend = (sums[f"{whose}{name}"] for name in ("attributed", "caused", "spend_usd"))
    found = {"sales_anyway_share": share_not(caused, claimed, seed)}
    for name, cost, sales in (("attributed", "attributed", claimed), ("caused", "incremental", caused)):
        found |= {
            f"{name}_sales": mean_interval(sales, seed=seed),
            f"{cost}_cac_usd": ratio_of_sums_interval(spend, sales, seed=seed),
            f"{cost}_roas": scaled(ratio_of_sums_interval(sales, spend, seed=seed), ltv_usd),
        }
    return found


def _figure(brand: Mapping[str, Interval]) -> charts.Figure:
    shares = {
        "clicks back organically": "clicks_back_share",
        "visits that come in any way": "visits_back_share",
        "attributed sales, come anyway": "sales_anyway_share",
        "attributed buyers, buy anyway": "same_buyers_share",
    }
    return charts.forest(
        [(name, scaled(brand[key], 100.0).as_dict(), "sim") for name, key in shares.items()],
        x_title="% of what the own-brand ads are credited with",
        lines={"eBay: 99.5 % of clicks": 100.0 * PAPER_CLICKS_BACK},
    )


_ROWS = {
    "clicks_back_share": "clicks that come back organically",
    "visits_back_share": "clicks whose visit comes in any way",
    "sales_anyway_share": "attributed sales that come anyway",
    "same_buyers_share": "attributed buyers who buy in the twin too",
    "attributed_sales": "sales attributed, a world",
    "caused_sales": "sales caused, a world",
    "attributed_cac_usd": "cost of an attributed sale",
    "incremental_cac_usd": "cost of a caused sale",
    "attributed_roas": "return on a dollar, attributed",
    "incremental_roas": "return on a dollar, caused",
    "rivals_bidding": "rivals that bid on the brand's name",
}
_AT_EBAY = {
    "clicks_back_share": "99.5 %",
    "sales_anyway_share": "no effect measured",
    "caused_sales": "no effect measured",
}
_FOUND = """
Of the clicks on own-brand ads, {back} come back through organic results when the ads are silent.

The last click gives an own-brand sale a cost of {cost}; a sale that would not have come anyway costs
{true_cost}, against {all_true_cost} in the whole account.

{same} of the buyers credited to own-brand search buy in the twin too, where nobody sees these ads.
"""
_DIFFERS = """
eBay lost half a click in 100, these worlds {lost}: {bidding} of {rivals} rivals bid on the brand's name,
and their ads move up when ours is gone. That is what experiments on Bing found: without competitors a
brand's ad adds 1 to 4 % of clicks; where they bid and the brand does not, they take 18 to 42 % (Simonov,
Nosko, Rao, Marketing Science 37(2), 2018), 6 to 15 % in a later one (Simonov, Hill, Columbia Business
School 18-59, 2020).

How many clicks organic results take once no ad was clicked is a parameter of the market file, set after
eBay's experiment (organic_click, organic_us): that part is put in, not found. What rivals take, and what
sales follow, is found.

eBay compared search engines and regions over weeks and could not see small effects; a twin is the same
world with the same luck, so an effect near zero gets a sign.

eBay's second result, ads on other words that help new customers only, is not asked here.
"""
