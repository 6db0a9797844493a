"""Every parameter of a market: its name, its axes, its meaning.

The table below is the schema of `[parameters]` in a market file and of the compiled `rules` record that
the kernels read (one record per world, one field per parameter). Values, units, ranges, strengths and
sources stand in the market file, never here.
"""

from typing import NamedTuple

import numpy as np

from gaelp.core.words import CREATIVES, LANDING_PAGES, Query, Stage

MAX_SEGMENTS = 8

FEEDS = ("social", "video", "display")
ACTIVITIES = ("social", "video", "display", "search", "direct", "mail")
AUCTIONS = ("search", "social", "video", "display")
PRICE_GROUPS = (
    *(f"search_{query.name.lower()}" for query in Query),
    "social_new",
    "social_engaged",
    "video_new",
    "display_new",
    "retargeting_engaged",
    "retargeting_high_intent",
)
STAGES = tuple(stage.name.lower() for stage in Stage)
QUERIES = tuple(query.name.lower() for query in Query)
STEPS = ("unaware_aware", "aware_considering", "considering_intent")
CONTEXTS = (*QUERIES, "new", "engaged", "high_intent")
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
CHANNELS = ("search", "social", "video", "display", "retargeting", "email", "direct", "organic")

AXES: dict[str, tuple[str, ...]] = {
    "feed": FEEDS,
    "activity": ACTIVITIES,
    "auction": AUCTIONS,
    "group": PRICE_GROUPS,
    "stage": STAGES,
    "query": QUERIES,
    "step": STEPS,
    "context": CONTEXTS,
    "month": MONTHS,
    "channel": CHANNELS,
    "device": ("mobile", "desktop", "tablet"),
    "class": ("mobile", "desktop"),
    "creative": CREATIVES,
    "landing": LANDING_PAGES,
    "arm": ("fast", "days", "slow"),
    "slot": ("first", "second", "third", "fourth"),
    "floor": ("a", "b", "c", "d", "e", "f", "g", "h"),
    "audience": ("new", "engaged", "high_intent"),
    "segment": (),
}
"""Names along each axis, in array order; the segments come from the market file."""


class Parameter(NamedTuple):
    """One parameter: `axes` names its dimensions (none: a scalar), `about` says what it does."""

    name: str
    axes: tuple[str, ...]
    about: str


def _p(name: str, axes: str, about: str) -> Parameter:
    return Parameter(name, tuple(axes.split()), about)


PARAMETERS: tuple[Parameter, ...] = (
    # people
    _p("segment_share", "segment", "share of entrants by home segment"),
    _p("stay_days", "", "mean days a person stays in the population, whatever they buy"),
    _p("entrant_aware", "", "share of entrants who already know the category"),
    _p("device_owners", "device", "share of people who use the device"),
    _p("consent_share", "device", "share of devices that allow tracking"),
    _p("login_share", "", "share of people known to social platforms by login"),
    _p("activity_sigma", "", "spread of personal activity (log scale)"),
    _p("rhythm_hours", "", "largest personal shift of the daily rhythm"),
    _p("region_sigma", "", "spread of regional need (log scale)"),
    # need
    _p("need", "segment", "mean need for the category"),
    _p("need_sigma", "", "spread of personal need (log scale)"),
    _p("need_persistence", "", "share of a need's deviation that is left a day later"),
    _p("trigger_per_day", "segment", "chance a day of an event that makes the need urgent"),
    _p("urgency_spike", "", "urgency added by such an event"),
    _p("urgency_half_life_days", "", "half-life of urgency"),
    _p("crisis_threshold", "", "urgency under which a person is back in the home segment"),
    _p("season_demand", "month", "need by month, mean 1"),
    # activity
    _p("activity_per_day", "feed", "feed sessions a person and day"),
    _p("search_per_day", "stage", "category searches a person and day at need 1"),
    _p("search_urgency", "", "searches gained per unit of urgency"),
    _p("direct_per_day", "stage", "direct visits to the advertiser a day at goodwill 0"),
    _p("mail_per_day", "", "looks into the mailbox a day"),
    _p("hour_tilt", "activity", "how far the activity follows the hour-of-week table (0 flat, 1 fully)"),
    _p("query_share", "stage query", "what a search is about, by stage"),
    # auctions
    _p("price_level", "group", "what rivals value a click (search) or 1000 impressions (feeds) at, USD"),
    _p("price_class", "class", "rivals' value by device class"),
    _p("season_price", "month", "rivals' value by month, mean 1"),
    _p("bid_sigma", "auction", "spread of one rival's bids around its value (log scale)"),
    _p("common_sigma", "auction", "spread that all rivals share in one auction (log scale)"),
    _p("shade", "auction", "rivals' bid as a share of their value"),
    _p("search_reserve_usd", "query", "reserve price of a search click"),
    _p("feed_reserve_cpm", "feed", "reserve of social and video; display uses the floors"),
    _p("floor_cpm", "floor", "floor prices that publishers set for display"),
    _p("floor_share", "floor", "how often each floor is set"),
    _p("own_brand_quality", "", "search quality of the brand that a query names"),
    _p("conquest_quality", "", "search quality of the brands a brand query does not name"),
    # response
    _p("search_click", "query", "click probability of a relevant ad on the first slot"),
    _p("position", "slot", "click probability by slot, relative to the first"),
    _p("feed_click_odds", "feed", "click odds of a viewed first impression"),
    _p("engaged_click", "", "click odds of people who visited before, relative"),
    _p("viewability", "feed", "share of impressions that are seen"),
    _p("click_stage", "stage", "click odds by stage, relative"),
    _p("click_segment", "segment", "click odds by segment, relative"),
    _p("click_class", "class", "click odds by device class, relative"),
    _p("creative_fit", "segment creative", "click odds by segment and creative, relative"),
    _p("fatigue_exponent", "", "click odds fall as (earlier views + 1) to this power"),
    _p("fatigue_half_life_days", "", "half-life of earlier views"),
    _p("rival_fatigue", "", "mean fatigue of rivals' ads"),
    _p("organic_click", "query", "chance of an organic click when no ad was clicked"),
    _p("organic_us", "query", "share of organic clicks that reach the advertiser"),
    _p("organic_rival", "query", "share of organic clicks that reach a rival"),
    # goodwill and stage
    _p("goodwill_view", "feed", "goodwill (logit) per viewed impression"),
    _p("goodwill_click", "", "goodwill (logit) per visit"),
    _p("goodwill_mail", "", "goodwill (logit) per opened mail"),
    _p("goodwill_half_life_days", "", "half-life of goodwill"),
    _p("goodwill_saturation", "", "goodwill at which half of its limit is reached"),
    _p("annoyance_views", "", "recent views at which a further one adds nothing, beyond it harms"),
    _p("landing_fit", "landing context", "goodwill of a visit by landing page and context, relative"),
    _p("stage_up_day", "step", "chance a day to move on at need 1 without contact"),
    _p("stage_up_view", "step", "chance to move on per viewed category ad"),
    _p("stage_up_search", "step", "chance to move on per search"),
    _p("stage_up_visit", "step", "chance to move on per visited site of the category"),
    _p("stage_down_day", "step", "chance a day to fall back when idle for a week"),
    _p("idle_days", "", "days without contact after which a journey is lost"),
    # purchase
    _p("buy_rate", "", "chance of a category purchase per activity in INTENT at need 1"),
    _p("buy_early", "", "the same in CONSIDERING, relative"),
    _p("buy_visit", "", "the same right after a visit, relative"),
    _p("brand_prior", "", "prior strength of the advertiser's brand (logit)"),
    _p("none_utility", "", "utility of buying nothing after all (logit)"),
    _p("taste_sigma", "", "spread of personal taste for a brand (logit)"),
    _p("price_sensitivity", "segment", "utility lost per unit of relative price"),
    _p("price_sensitivity_sigma", "", "spread of personal price sensitivity (log scale)"),
    _p("price_index", "", "the advertiser's price, relative to the category"),
    _p("value_segment", "segment", "lifetime value by segment, relative"),
    _p("churn_per_day", "", "chance a day that a customer comes back to the market"),
    # lag
    _p("lag_share", "arm", "share of decisions booked by each arm"),
    _p("lag_mean_hours", "arm", "mean of the arm's exponential"),
    _p("lag_start_hours", "arm", "hours before the arm begins"),
    _p("lag_segment", "segment", "lag by segment, relative"),
    _p("lag_channel", "channel", "lag by channel of the last touch, relative"),
    # e-mail
    _p("mail_signup", "", "chance that a visit leaves an address"),
    _p("mail_open", "", "chance that a message is opened"),
    _p("mail_click", "", "chance that an opened message is clicked"),
    _p("mail_unsubscribe", "", "chance that an opened message ends the subscription"),
    _p("mail_cost_usd", "", "cost of a message"),
    _p("mail_gap_hours", "", "least hours between two messages to a person"),
    # the platform's own bidder
    _p("predict_sigma", "", "spread of the platform's prediction error (log scale)"),
    _p("predict_stage", "stage", "what the platform infers from a person's stage, relative rate"),
    _p("predict_learning", "", "share of the newest day in the platform's learnt rates"),
    _p("predict_prior", "auction", "attributed conversions per click or impression it starts from"),
)
BY_NAME = {parameter.name: parameter for parameter in PARAMETERS}

MOST_OF_A_PAGE = 0.95
"""The chances of all ads of a search page together are at most this."""
RESPONSE_AXES = {
    "feed": tuple("feed segment stage class audience creative".split()),
    "search": tuple("query segment class".split()),
}
"""Axes of the two tables of a market file's `[response]`, in the order in which kernels read them."""
N_FATIGUE = 257
FATIGUE_STEP = 4.0
"""Fatigue is tabulated at quarter views up to 64."""


def response_shape(kind: str) -> tuple[int, ...]:
    """Array shape of a response table in compiled rules; segments are padded to `MAX_SEGMENTS`."""
    return tuple(MAX_SEGMENTS if axis == "segment" else len(AXES[axis]) for axis in RESPONSE_AXES[kind])


def axis_names(axis: str, segments: tuple[str, ...]) -> tuple[str, ...]:
    """Names along `axis`, in array order."""
    return segments if axis == "segment" else AXES[axis]


def shape_of(parameter: Parameter, n_segments: int = MAX_SEGMENTS) -> tuple[int, ...]:
    """Array shape of a parameter; segments are padded to `MAX_SEGMENTS` in compiled rules."""
    return tuple(n_segments if axis == "segment" else len(AXES[axis]) for axis in parameter.axes)


RULES = np.dtype(
    [(parameter.name, "f8", shape_of(parameter)) for parameter in PARAMETERS]
    + [
        ("n_segments", "i8"),
        ("ltv_micros", "f8"),
        ("first_price", "i8", len(AUCTIONS)),
        ("tracking", "i8"),
        ("world_key", "u8"),
        ("start_hour_of_week", "i8"),
        ("start_day_of_year", "i8"),
        ("hour_rate", "f8", (len(ACTIVITIES), 168)),
        ("segment_edge", "f8", MAX_SEGMENTS),
        ("query_edge", "f8", (len(STAGES), len(QUERIES))),
        ("floor_edge", "f8", 8),
        ("bid_noise", "f4", (len(AUCTIONS), 1024)),
        ("common_noise", "f4", (len(AUCTIONS), 1024)),
        ("goodwill_keep", "f8"),
        ("views_keep", "f8"),
        ("urgency_keep", "f8"),
        ("need_noise", "f8"),
        ("fatigue", "f8", N_FATIGUE),
        ("region_need", "f8", 100),
        ("region_edge", "f8", 100),
        ("responds", "i8"),
        ("feed_response", "f4", response_shape("feed")),
        ("search_response", "f4", response_shape("search")),
    ]
)
"""One world's compiled rules: the parameters, then tables derived from them."""
