"""Lisa: seven touchpoints, four searches, one sale. Who sold it?

One mother's six days, scripted on the market's own kernels (`gaelp.market.scripted`), then four answers to
the same question: the brief's arithmetic, attribution rules, the platform's report, and the twin, which is
the same Lisa without our ads.

    python examples/01_lisa.py           the story
    python examples/01_lisa.py --json    its numbers
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Table

from gaelp.core.units import micros_to_usd, usd_to_micros
from gaelp.core.words import Query, Stage, TouchKind
from gaelp.market.file import load
from gaelp.market.scripted import Crisis, Mail, Person, Retargeting, Scene, Search, Telling, Touch

MARKET = Path(__file__).parents[1] / "markets" / "family_safety.toml"
US = "Kinshield"
SALE_USD = 180.0
"""Mean lifetime value of a customer, as in the brief."""
SPEND_MICROS = 8_700_000
HALF_LIFE_DAYS = 7.0
CLICK_WINDOW_DAYS = 30.0
BRIEF_SHARES = {"first": 0.2, "e-mail": 0.3, "last": 0.5}
BRIEF_OURS = 0.6


def at(day: int, hour: int) -> int:
    """Hour of the story; its first day is day 1."""
    return (day - 1) * 24 + hour


LISA = Person(segment="concerned_parent", stage=Stage.AWARE)
STORY: Sequence[tuple[str, Scene]] = (
    (
        'Lisa searches "screen time limits app". Three brands bid; Qustodio is on top and she clicks it.',
        Search(
            hour=at(1, 20),
            query=Query.CATEGORY,
            bids_usd={US: 2.50, "Qustodio": 3.20, "Bark": 2.90},
            clicked="Qustodio",
            stage=Stage.CONSIDERING,
        ),
    ),
    (
        'She searches "qustodio reviews". Qustodio leaves its own name to its organic result; our $1.80 '
        "wins. She reads our comparison page and leaves her e-mail address.",
        Search(
            hour=at(2, 13),
            query=Query.RIVAL_BRAND,
            names="Qustodio",
            bids_usd={US: 1.80, "Bark": 1.49, "Aura": 1.20},
            clicked=US,
            stage=Stage.CONSIDERING,
            landing="comparison",
            signs_up=True,
        ),
    ),
    (
        "Her eight-year-old shows her what autoplay has shown him. It has become urgent.",
        Crisis(hour=at(5, 21)),
    ),
    (
        # A search ad's wording is not modelled; `creative` counts in feeds only.
        'She searches "block youtube kids phone immediately" and clicks our emergency ad.',
        Search(
            hour=at(5, 21),
            query=Query.GENERIC,
            bids_usd={US: 7.60, "Bark": 7.20, "Qustodio": 6.40},
            clicked=US,
            stage=Stage.INTENT,
        ),
    ),
    (
        'Ten minutes later: "parental control install now". Here we bid less; she clicks Bark.',
        Search(
            hour=at(5, 21),
            minute=10,
            query=Query.CATEGORY,
            bids_usd={US: 5.00, "Bark": 7.40, "Qustodio": 6.40},
            clicked="Bark",
            stage=Stage.INTENT,
        ),
    ),
    (
        "Our cookie is on her phone: a retargeting banner, seen, not clicked. Display is first price: we "
        "pay our bid, per 1000.",
        Retargeting(
            hour=at(5, 22),
            bids_usd={US: 8.00, "Aura": 3.10, "Norton": 2.40},
            floor_cpm=2.00,
            creative="emergency",
        ),
    ),
    (
        'Our e-mail "Still unprotected?" costs $0.002. She opens it, clicks, and buys from us.',
        Mail(hour=at(6, 9), cost_usd=0.002, landing="offer"),
    ),
)


def tell() -> dict[str, Any]:
    """Live the story and everything computed from it.

    Returns:
        plain numbers and lists, as `--json` prints them: scenes, touchpoints, searches, spend_micros, brief,
        rules, platform, twin.
    """
    telling = Telling(load(MARKET), LISA, [scene for _, scene in STORY])
    touches = telling.touches
    assert telling.cost_micros == SPEND_MICROS, f"the story costs {telling.cost_micros} micros"
    rules = {name: scored(credits, telling) for name, credits in attribution(telling).items()}
    return {
        "scenes": [scene_numbers(telling, i, words) for i, (words, _) in enumerate(STORY)],
        "touchpoints": [touch_numbers(touch) for touch in touches],
        "searches": sum(isinstance(scene, Search) for _, scene in STORY),
        "spend_micros": telling.cost_micros,
        "sale_usd": SALE_USD,
        "brief": brief_arithmetic(telling),
        "rules": rules,
        "platform": {"line": telling.platform_line, "books_usd": int(telling.decision["value_micros"]) / 1e6},
        "twin": twin_numbers(telling),
    }


def attribution(telling: Telling) -> dict[str, list[float]]:
    """Credits of each rule over all touchpoints, rivals' included, as only the market itself can see them."""
    touches, n = telling.touches, len(telling.touches)
    sale_hour = float(telling.decision["hour"])
    age_days = [max(sale_hour - touch.hour, 0.0) / 24.0 for touch in touches]
    clicks = [i for i, touch in enumerate(touches) if touch.kind is TouchKind.CLICK]
    lead = next(i for i, touch in enumerate(touches) if getattr(STORY[touch.scene][1], "signs_up", False))
    intent = next(i for i, touch in enumerate(touches) if telling.lived[touch.scene].stage == Stage.INTENT)
    decay = [0.5 ** (age / HALF_LIFE_DAYS) for age in age_days]
    last_of_ours = max(
        i for i in clicks if touches[i].brand == telling.brands[0] and age_days[i] <= CLICK_WINDOW_DAYS
    )
    assert touches[last_of_ours].channel.name.lower() == telling.platform_line, "the market reports another"
    return {
        "last click": anchored(n, {clicks[-1]: 1.0}),
        "first click": anchored(n, {clicks[0]: 1.0}),
        "linear": [1.0 / n] * n,
        "time decay": [weight / sum(decay) for weight in decay],
        "position-based": anchored(n, {0: 0.4, n - 1: 0.4}),
        "W-shaped": anchored(n, {0: 0.3, lead: 0.3, intent: 0.3}),
        "platform report": anchored(n, {last_of_ours: 1.0}),
    }


def anchored(n: int, anchors: dict[int, float]) -> list[float]:
    """Fixed credits for some of `n` touches; the others share what is left."""
    rest = (1.0 - sum(anchors.values())) / max(n - len(anchors), 1)
    return [anchors.get(i, rest) for i in range(n)]


def scored(credits: list[float], telling: Telling) -> dict[str, Any]:
    """What a rule's credits give us."""
    ours = sum(
        credit
        for credit, touch in zip(credits, telling.touches, strict=True)
        if touch.brand == telling.brands[0]
    )
    return {"credits": credits, **money(ours)}


def money(ours: float) -> dict[str, float]:
    """Our share of the sale, in dollars, and less what we spent."""
    usd = micros_to_usd(usd_to_micros(SALE_USD * ours))
    reward = micros_to_usd(usd_to_micros(SALE_USD * ours) - SPEND_MICROS)
    return {"ours": ours, "usd": usd, "reward_usd": reward}


def brief_arithmetic(telling: Telling) -> dict[str, Any]:
    """The brief's worked example, and what its shares give over the touches they name."""
    touches = telling.touches
    opened = next(i for i, touch in enumerate(touches) if touch.kind is TouchKind.EMAIL_OPEN)
    places = {"first": 0, "e-mail": opened, "last": len(touches) - 1}
    credits = anchored(len(touches), {places[name]: share for name, share in BRIEF_SHARES.items()})
    sums = {0.0}
    for share in BRIEF_SHARES.values():
        sums |= {round(total + share, 10) for total in sums}
    return {
        "shares": BRIEF_SHARES,
        "places": {name: place + 1 for name, place in places.items()},
        "as_stated": money(BRIEF_OURS),
        "over_her_touches": scored(credits, telling),
        "sums_of_shares": sorted(sums),
    }


def twin_numbers(telling: Telling) -> dict[str, Any]:
    """Chance that she buys from us in the purchase of day 6, with our ads and without."""
    with_ads = telling.odds(telling.twin(())[0])
    us, all_ours = 0, telling.ours

    def without(touches: Sequence[Touch], handed_on: bool = False) -> dict[str, Any]:
        market, happened = telling.twin(touches, handed_on=handed_on)
        odds = telling.odds(market)
        lost = [i + 1 for i, touch in enumerate(telling.touches) if touch not in happened]
        incremental = float(with_ads.mean[us] - odds.mean[us])
        return {
            "chance_without": float(odds.mean[us]),
            "chance_without_at_taste_0": float(odds.untasted[us]),
            "incremental": incremental,
            "share_of_sale": incremental / float(with_ads.mean[us]),
            "touches_lost": lost,
        }

    whole = without(all_ours)
    one = {i + 1: without([touch]) for i, touch in enumerate(telling.touches) if touch in all_ours}
    by_touch = [one[i + 1]["share_of_sale"] if i + 1 in one else 0.0 for i in range(len(telling.touches))]
    return {
        "chance_with": float(with_ads.mean[us]),
        "chance_with_at_taste_0": float(with_ads.untasted[us]),
        **whole,
        "expected": money(whole["incremental"]),
        "given_the_sale": money(whole["share_of_sale"]),
        "handed_on": without(all_ours, handed_on=True),
        "without_one": one,
        "share_by_touch": by_touch,
    }


def scene_numbers(telling: Telling, i: int, words: str) -> dict[str, Any]:
    """One scene: when, what was bid and paid, and where it left Lisa."""
    scene, lived = telling.scenes[i], telling.lived[i]
    has_auction = isinstance(scene, Search | Retargeting)
    return {
        "words": words,
        "when": when(scene.hour + scene.minute / 60),
        "per": "click" if isinstance(scene, Search) else "1000",
        "auction": [vars(offer) for offer in telling.auction(i)] if has_auction else [],
        "cost_micros": lived.cost_micros,
        "stage": lived.stage.name,
        "segment": lived.segment,
        "urgency": lived.urgency,
        "goodwill": dict(zip(telling.brands, lived.goodwill, strict=True)),
    }


def touch_numbers(touch: Touch) -> dict[str, Any]:
    """One touchpoint, in words and micros."""
    return {
        "when": when(touch.hour),
        "brand": touch.brand,
        "what": f"{touch.channel.name.lower()} {touch.kind.name.lower().removeprefix('email_')}",
        "cost_micros": touch.cost_micros,
    }


def when(hour: float) -> str:
    """An hour of the story as people say it."""
    minutes = round(hour * 60)
    return f"day {minutes // 1440 + 1}, {minutes // 60 % 24:02d}:{minutes % 60:02d}"


def show(told: dict[str, Any], console: Console) -> None:
    """Print the story and its tables."""
    console.rule("[bold]Lisa: seven touchpoints, four searches, one sale")
    for scene in told["scenes"]:
        console.print(f"\n[bold]{scene['when']}[/]")
        indented(console, scene["words"])
        if scene["auction"]:
            indented(console, auction_table(scene))
        goodwill = ", ".join(f"{brand} {g:.2f}" for brand, g in scene["goodwill"].items() if g or brand == US)
        indented(
            console,
            f"[dim]She is {scene['stage']}, {scene['segment'].replace('_', ' ')}, urgency "
            f"{scene['urgency']:.1f}. Goodwill: {goodwill}. We pay ${scene['cost_micros'] / 1e6:.3f}.[/]",
        )
    console.rule("The touchpoints")
    for i, touch in enumerate(told["touchpoints"], 1):
        cost = f"${touch['cost_micros'] / 1e6:.3f}"
        console.print(f"  {i}  {touch['when']}  {touch['brand']:<10} {touch['what']:<24} {cost}")
    costs = " + ".join(f"{t['cost_micros'] / 1e6:.3f}" for t in told["touchpoints"] if t["cost_micros"])
    indented(console, f"Our spend: {costs} = [bold]${told['spend_micros'] / 1e6:.2f}[/]")
    indented(
        console,
        "[dim]On day 1 and at 21:10 our ad stood third on the page and was not clicked; platforms report "
        "such impressions in sums only, so no journey holds them. The click of day 2 costs at most our bid "
        "of $1.80, so a total of $8.70 makes the emergency click dear.[/]",
    )
    show_brief(told, console)
    show_rules(told, console)
    show_twin(told, console)


def indented(console: Console, what: str | Table) -> None:
    """Print a paragraph or a table, two columns in."""
    console.print(Padding(what, (0, 0, 0, 2), expand=False))


def auction_table(scene: dict[str, Any]) -> Table:
    """Bids, qualities and prices of one auction."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in ("", "bid", "quality", "bid x quality", "slot", f"price per {scene['per']}"):
        table.add_column(name, justify="right" if name else "left")
    for offer in scene["auction"]:
        shown = offer["slot"] >= 0
        table.add_row(
            offer["brand"],
            f"${offer['bid']:.2f}",
            f"{offer['quality']:.2f}",
            f"{offer['bid'] * offer['quality']:.3f}",
            str(offer["slot"] + 1) if shown else "none",
            f"${offer['price']:.2f}" if shown else "",
        )
    return table


def show_brief(told: dict[str, Any], console: Console) -> None:
    """The worked example, and where it does not add up."""
    brief = told["brief"]
    stated, over, places = brief["as_stated"], brief["over_her_touches"], brief["places"]
    sums = ", ".join(f"{100 * total:.0f}" for total in brief["sums_of_shares"])
    console.rule("The brief's arithmetic")
    indented(
        console,
        f'20 % to the first touch, 30 % to the e-mail, 50 % to the last, "60 % ours": '
        f"${told['sale_usd']:.0f} x {stated['ours']:.1f} = ${stated['usd']:.2f}; less "
        f"${told['spend_micros'] / 1e6:.2f} the reward is [bold]${stated['reward_usd']:.2f}[/].",
    )
    indented(
        console,
        f"The shares do not give 60 %. Of the touches they name, {places['first']} (the first) is "
        f"Qustodio's; {places['e-mail']} (the e-mail) and {places['last']} (the last) are ours: "
        f"{100 * over['ours']:.0f} %, ${over['usd']:.2f}, reward ${over['reward_usd']:.2f}. If the first "
        "touch is to mean our own first click, all 100 % are ours. No choice among 20, 30 and 50 gives 60; "
        f"the sums are {sums}.",
    )


def show_rules(told: dict[str, Any], console: Console) -> None:
    """One row per rule, one column per touchpoint."""
    table = Table(box=None, padding=(0, 1, 0, 0))
    table.add_column("% of the sale", no_wrap=True)
    for i, touch in enumerate(told["touchpoints"], 1):
        table.add_column(f"{i}", justify="right", style="" if touch["brand"] == US else "dim", no_wrap=True)
    for name in ("ours", f"of ${told['sale_usd']:.0f}", "reward"):
        table.add_column(name, justify="right", no_wrap=True)

    nothing = [""] * len(told["touchpoints"])

    def row(name: str, shares: Sequence[float], score: dict[str, float], style: str = "") -> None:
        cells = [f"{100 * share:.1f}" if share else "-" for share in shares] or nothing
        values = (f"{100 * score['ours']:.1f}", f"{score['usd']:.2f}", f"{score['reward_usd']:.2f}")
        table.add_row(name, *cells, *values, style=style)

    brief, twin = told["brief"], told["twin"]
    for name, rule in told["rules"].items():
        row(name, rule["credits"], rule)
    row("brief: 20/30/50", brief["over_her_touches"]["credits"], brief["over_her_touches"])
    row('brief: "60 % ours"', [], brief["as_stated"])
    row("twin, now sold", twin["share_by_touch"], twin["given_the_sale"], "bold")
    row("twin, beforehand", [], twin["expected"], "bold")
    console.rule("Who sold it?")
    indented(console, table)
    indented(
        console,
        f"[dim]Reward: what a rule gives us less the ${told['spend_micros'] / 1e6:.2f}. Touches 1 and 4 are "
        "rivals' clicks. Our own account sees only ours, and over those every rule gives us 100 %. Time "
        "decay halves in 7 days; position-based is 40/20/40; W-shaped gives 30 % each to the first touch, "
        "the one that left an address (2) and the one that brought intent (3); the platform reports our last "
        "click within 30 days. The twin's columns take out one touch at a time, with what it made possible, "
        "and need not add up.[/]",
    )


def show_twin(told: dict[str, Any], console: Console) -> None:
    """What the twin says, in words."""
    twin = told["twin"]
    visit, emergency, banner, _, last = twin["without_one"].values()

    def percent(value: float) -> str:
        return f"{100 * value:.1f} %"

    console.rule("The twin: the same Lisa, the same days, none of our ads")
    indented(
        console,
        f"When she buys on day 6 she picks us with a chance of {percent(twin['chance_with'])}; without our "
        f"touches, rivals' kept, it is {percent(twin['chance_without'])}. Before she chose, our ads were "
        f"worth that difference: {100 * twin['incremental']:.1f} points, ${twin['expected']['usd']:.2f}. Now "
        "that she has bought from us, the chance that she would not have without them is "
        f"{percent(twin['share_of_sale'])}, ${twin['given_the_sale']['usd']:.2f}: the figure to hold against "
        "a rule's share.",
    )
    fallen = ", ".join(map(str, visit["touches_lost"]))
    indented(
        console,
        f"The click of day 2 carries {percent(visit['share_of_sale'])}: without it there is no address and "
        f"no e-mail (touches {fallen} fall). The dear emergency click carries "
        f"{percent(emergency['share_of_sale'])}, the banner {percent(banner['share_of_sale'])}, and the last "
        f"click, to which some rules give everything, {percent(last['share_of_sale'])}.",
    )
    indented(
        console,
        "[dim]Chances come from the market's softmax over six brands and nothing, integrated over the "
        "market's tastes; for somebody without tastes they are "
        f"{percent(twin['chance_with_at_taste_0'])} and {percent(twin['chance_without_at_taste_0'])}. The "
        "moment of purchase is held fixed: what ads do to whether and when she buys at all is left out. A "
        "page without our ad hands its click to nobody; if the next ad gets it, as under the market's own "
        f"draws, our share is {percent(twin['handed_on']['share_of_sale'])}. The sale counts the mean "
        f"${told['sale_usd']:.0f}; the market books ${told['platform']['books_usd']:.2f} for a crisis "
        "parent.[/]",
    )


def main() -> None:
    """Print the story, or its numbers."""
    parser = argparse.ArgumentParser(description="The story of Lisa on the market's own machinery.")
    parser.add_argument("--json", action="store_true", help="print the numbers instead of the story")
    wants_json = parser.parse_args().json
    told = tell()
    if wants_json:
        print(json.dumps(told, indent=1))
    else:
        show(told, Console(highlight=False))


if __name__ == "__main__":
    main()
