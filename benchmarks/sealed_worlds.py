"""What the agent earned on the sealed test worlds, and whether that is what was asked for.

Reads what `gaelp evaluate --split test` kept of each world (`per_world.json`), prints a table by family and
baseline, and exits with 1 where a claim does not hold:

- the agent earns more incremental profit than every baseline, the paired 95 % interval above zero, in at
  least 8 of the default and ten families, and in none less than any, the interval below zero;
- on the default at least half of what `line_oracle` earns beyond `pacing` is gained;
- on the default its incremental CAC is below $100 with 90 % of the budget spent or as many incremental
  conversions as `pacing`, and its incremental ROAS above 2 where that of `line_oracle` is.

    python benchmarks/sealed_worlds.py                          # what was kept of the one opening
    python benchmarks/sealed_worlds.py runs/x/per_world.json    # any other evaluation of --suite all
    python benchmarks/sealed_worlds.py runs/x --keep            # add its sums to those of the opening
    python benchmarks/sealed_worlds.py runs/y --keep --large    # those of larger worlds beside them
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np

from gaelp.core.plain import as_json
from gaelp.evaluation.intervals import paired_interval, ratio_of_sums_interval
from gaelp.evaluation.leaderboard import REFERENCES

KEPT = Path(__file__).parents[1] / "docs" / "acceptance" / "sealed_worlds.json"
NEEDED = (
    "spend_usd",
    "budget_usd",
    "incremental_revenue_usd",
    "incremental_conversions",
    "incremental_expected_value_usd",
)
LARGE = "default, 80,000 people"
FAMILIES_WON, GAP, CAC_USD, SPENT, ROAS = 8, 0.5, 100.0, 0.9, 2.0


def read(path):
    """{family: {policy: {measure: (n_worlds,)}}} of a run."""
    found = json.loads(path.read_text())
    families = found if "families" not in found else found["families"]
    if "spend_usd" in next(iter(families.values())):
        families = {"default": families}  # a suite of the default alone
    return {
        family: {
            policy: {name: np.asarray(sums[name], float) for name in NEEDED}
            for policy, sums in judged.items()
        }
        for family, judged in families.items()
    }


def keep(families):
    """Add sums, in cents, to those that are kept."""
    kept = json.loads(KEPT.read_text())["families"] if KEPT.is_file() else {}
    for family, judged in families.items():
        kept[family] = {p: {k: np.round(v, 2) for k, v in each.items()} for p, each in judged.items()}
    KEPT.write_text(as_json({"families": kept}) + "\n")


def profit(sums, kind="incremental_revenue_usd"):
    """(n_worlds,) incremental profit: booked, or expected before the last draw of each decision."""
    return sums[kind] - sums["spend_usd"]


def pairs(families, agent):
    """{(family, baseline): (booked, expected)}: intervals of the agent's profit less each baseline's."""
    return {
        (family, other): tuple(
            paired_interval(profit(judged[agent], kind), profit(judged[other], kind))
            for kind in ("incremental_revenue_usd", "incremental_expected_value_usd")
        )
        for family, judged in families.items()
        for other in judged
        if other != agent and other not in REFERENCES
    }


def line_of(judged, policy):
    """CAC, share spent, ROAS, and incremental conversions a world, of one policy."""
    sums = judged[policy]
    spend = sums["spend_usd"]
    return {
        "incremental_cac_usd": ratio_of_sums_interval(spend, sums["incremental_conversions"]),
        "spend_share": float(spend.sum() / sums["budget_usd"].sum()),
        "incremental_roas": ratio_of_sums_interval(sums["incremental_revenue_usd"], spend),
        "incremental_conversions": float(sums["incremental_conversions"].mean()),
    }


def claims(families, agent, found):
    """[(what is claimed, whether it holds, figure)]."""
    by_family = {
        family: [pair for (name, _), (pair, _) in found.items() if name == family]
        for family in families
        if family != LARGE
    }
    won = [family for family, each in by_family.items() if all(pair.low > 0 for pair in each)]
    lost = [family for family, each in by_family.items() if any(pair.high < 0 for pair in each)]
    said = [
        (
            f"beats every baseline in at least {FAMILIES_WON} of {len(by_family)}",
            len(won) >= FAMILIES_WON,
            len(won),
        ),
        ("is worse than one in none", not lost, ", ".join(lost) or "none"),
    ]
    default = families.get("default", {})
    if not {"pacing", "line_oracle"} <= set(default):
        said.append(("the default was flown with pacing and line_oracle", False, "not in this run"))
    else:
        base, best = profit(default["pacing"]).mean(), profit(default["line_oracle"]).mean()
        gap = (profit(default[agent]).mean() - base) / (best - base) if best > base else float("nan")
        said.append(
            (f"at least {GAP:.0%} of the distance from pacing to line_oracle", gap >= GAP, f"{gap:.0%}")
        )
        mine, paced, oracle = (line_of(default, name) for name in (agent, "pacing", "line_oracle"))
        cac, spent = mine["incremental_cac_usd"], mine["spend_share"]
        volume = spent >= SPENT or mine["incremental_conversions"] >= paced["incremental_conversions"]
        cheap = cac.high is not None and cac.high < CAC_USD and volume
        said.append((f"CAC below ${CAC_USD:.0f} at volume", cheap, f"${cac.mean:.2f}, {spent:.1%} spent"))
        roas = mine["incremental_roas"]
        fine = roas.low > ROAS or oracle["incremental_roas"].mean <= ROAS
        figure = f"{roas.mean:.2f} ({roas.low:.2f} to {roas.high:.2f})"
        said.append((f"ROAS above {ROAS:.0f} where line_oracle's is", fine, figure))
    return said


def table(families, agent, found):
    """The Markdown table of paired differences: booked, then expected."""
    others = list(dict.fromkeys(other for _, other in found))
    rows = [
        ["family", "worlds", f"profit of `{agent}`", "spent", *(f"less `{other}`" for other in others)],
        ["---", *["---:"] * (len(others) + 3)],
    ]
    for family, judged in families.items():
        cells = [
            f"`{family}`",
            str(len(judged[agent]["spend_usd"])),
            f"${profit(judged[agent]).mean():,.0f}",
            f"{line_of(judged, agent)['spend_share']:.1%}",
        ]
        for other in others:
            booked, expected = found[family, other]
            cells.append(
                f"{booked.mean:,.0f} ({booked.low:,.0f} to {booked.high:,.0f});"
                f" {expected.mean:,.0f} ({expected.low:,.0f} to {expected.high:,.0f})"
            )
        rows.append(cells)
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def main() -> int:
    """Print the table and the claims; 1 where one does not hold."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "run", nargs="?", type=Path, default=KEPT, help="a run's folder, or its per_world.json"
    )
    parser.add_argument("--agent", default="value", help="whose claims they are")
    parser.add_argument("--keep", action="store_true", help="add its sums, in cents, to those of the opening")
    parser.add_argument("--large", action="store_true", help="its worlds are larger ones of the default")
    asked = parser.parse_args()
    path = asked.run / "per_world.json" if asked.run.is_dir() else asked.run
    families = read(path)
    if asked.large:
        families = {LARGE: families["default"]}
    if asked.keep:
        keep(families)
    found = pairs(families, asked.agent)
    print("USD a world, 95 % intervals: booked; expected\n")
    print(table(families, asked.agent, found) + "\n")
    said = claims(families, asked.agent, found)
    for what, holds, figure in said:
        print(f"{'yes' if holds else 'NO '}  {what}: {figure}")
    return 0 if all(holds for _, holds, _ in said) else 1


if __name__ == "__main__":
    sys.exit(main())
