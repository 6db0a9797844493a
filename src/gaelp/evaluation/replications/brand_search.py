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
from gaelp.evaluation.intervals import mean_interval, ratio_of_sums_interval
from gaelp.evaluation.judge import Terms
from gaelp.evaluation.replications.answer import Answer, Row, ends, scaled, share_not
from gaelp.evaluation.replications.flights import OWN_BRAND, Floats, Flown, Task, bought, fly_task, lives
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


def fly(task: Task, tick: Tick) -> dict[str, Floats]:
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
    clicks, claimed, caused, spend = (sums[n] for n in ("clicks", "attributed", "caused", "spend_usd"))
    back = ratio_of_sums_interval(sums["organic_back"], clicks, seed=seed)
    visits = share_not(sums["visits_lost"], clicks, seed)
    anyway = share_not(caused, claimed, seed)
    same = ratio_of_sums_interval(sums["same_buyers"], claimed, seed=seed)
    cost, true_cost = (ratio_of_sums_interval(spend, sales, seed=seed) for sales in (claimed, caused))
    account = [sums[f"all_{name}"] for name in ("attributed", "caused", "spend_usd")]
    all_cost, all_true_cost = (ratio_of_sums_interval(account[2], sales, seed=seed) for sales in account[:2])
    per_dollar = [
        scaled(ratio_of_sums_interval(sales, money, seed=seed), file.ltv_usd)
        for sales, money in ((claimed, spend), (caused, spend), *((s, account[2]) for s in account[:2]))
    ]
    rivals = mean_interval(sums["rivals"], seed=seed)
    means = [mean_interval(values, seed=seed) for values in (claimed, caused, *account[:2])]
    none = "no effect measured"
    rows = (
        Row("clicks_back_share", "clicks that come back organically", {_BRAND: back, _PAPER: "99.5 %"}),
        Row("visits_back_share", "clicks whose visit comes in any way", {_BRAND: visits}),
        Row(
            "sales_anyway_share",
            "attributed sales that come anyway",
            {_BRAND: anyway, _ACCOUNT: share_not(account[1], account[0], seed), _PAPER: none},
        ),
        Row("same_buyers_share", "attributed buyers who buy in the twin too", {_BRAND: same}),
        Row("attributed_sales", "sales attributed, a world", {_BRAND: means[0], _ACCOUNT: means[2]}),
        Row("caused_sales", "sales caused, a world", {_BRAND: means[1], _ACCOUNT: means[3], _PAPER: none}),
        Row("attributed_cac_usd", "cost of an attributed sale", {_BRAND: cost, _ACCOUNT: all_cost}),
        Row("incremental_cac_usd", "cost of a caused sale", {_BRAND: true_cost, _ACCOUNT: all_true_cost}),
        Row(
            "attributed_roas",
            "return on a dollar, attributed",
            {_BRAND: per_dollar[0], _ACCOUNT: per_dollar[2]},
        ),
        Row(
            "incremental_roas", "return on a dollar, caused", {_BRAND: per_dollar[1], _ACCOUNT: per_dollar[3]}
        ),
        Row("rivals_bidding", "rivals that bid on the brand's name", {_BRAND: rivals}),
    )
    found = [
        f"Of the clicks on own-brand ads, {ends(back, '_share')} come back through organic results when the "
        "ads are silent.",
        f"The last click gives an own-brand sale a cost of {ends(cost, '_usd')}; a sale that would not have "
        f"come anyway costs {ends(true_cost, '_usd')}, against {ends(all_true_cost, '_usd')} in the whole "
        "account.",
        f"{ends(same, '_share')} of the buyers credited to own-brand search buy in the twin too, where "
        "nobody "
        "sees these ads.",
    ]
    lost = share_not(sums["organic_back"], clicks, seed)
    differs = [
        f"eBay lost half a click in 100, these worlds {ends(lost, '_share')}: {rivals.mean or 0.0:.2g} of "
        f"{len(file.rivals)} rivals bid on the brand's name, and their ads move up when ours is gone. That "
        "is "
        "what experiments on Bing found: without competitors a brand's ad adds 1 to 4 % of clicks; where "
        "they "
        "bid and the brand does not, they take 18 to 42 % (Simonov, Nosko, Rao, Marketing Science 37(2), "
        "2018), "
        "6 to 15 % in a later one (Simonov, Hill, Columbia Business School 18-59, 2020).",
        "How many clicks organic results take once no ad was clicked is a parameter of the market file, set "
        "after eBay's experiment (organic_click, organic_us): that part is put in, not found. What "
        "rivals "
        "take, and what sales follow, is found.",
        "eBay compared search engines and regions over weeks and could not see small effects; a twin is the "
        "same world with the same luck, so an effect near zero gets a sign.",
        "eBay's second result, ads on other words that help new customers only, is not asked here.",
    ]
    shares = {
        "clicks back organically": back,
        "visits that come in any way": visits,
        "attributed sales, come anyway": anyway,
        "attributed buyers, buy anyway": same,
    }
    figure = charts.forest(
        [(name, scaled(share, 100.0).as_dict(), "sim") for name, share in shares.items()],
        x_title="% of what the own-brand ads are credited with",
        lines={"eBay: 99.5 % of clicks": 100.0 * PAPER_CLICKS_BACK},
    )
    return Answer(
        title="Own-brand search: paid for what comes anyway",
        paper="Blake, Nosko, Tadelis, Econometrica 83(1), 2015",
        claim="When eBay stopped its ads on searches for its own name, organic results kept 99.5 % of the "
        "clicks, and no effect on sales could be measured.",
        columns=(_BRAND, _ACCOUNT, _PAPER),
        rows=rows,
        found=found,
        differs=differs,
        figure=figure,
        caption="What of the own-brand ads' clicks and sales comes without them; dots are means over worlds.",
    )
