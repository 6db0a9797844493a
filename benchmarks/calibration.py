"""Whether calibration finds known markets again, and whether an agent trained in what it found flies well.

    python benchmarks/calibration.py coverage     # 40 worlds exported, discovered, read, calibrated
    python benchmarks/calibration.py agent        # agents of the calibrated and the true market, in the true

Both keep what they have done in --keep and go on from there; both print JSON, and exit with 1 where a claim
does not hold:

- coverage: of the true levels of all parameters and worlds, .85 to .95 lie in the 90 % intervals; discovery
  finds in the same files the purchases that were made, no more and no fewer;
- agent: what the agent of the calibrated market earns beyond dual pacing, incrementally, is at least .7 of
  what the agent of the true market does, and above 0 by the 95 % interval over worlds. Beside them flies
  `base`, the `value` of the base market that was never told of these data: what calibration itself brings.

Worlds are drawn from the prior that a calibration starts from (`worlds.calibration.parameters`), by seeds
that it does not use. A regression means that intervals lie, or that practice in a fitted market is worth
less than it was.
"""

import argparse
import datetime as dt
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from gaelp.core.files import write_text_atomic
from gaelp.core.plain import as_json
from gaelp.data.calibration_reading import read_observed
from gaelp.data.calibration_targets import statistics_of
from gaelp.data.discovery.discovering import discover
from gaelp.evaluation.intervals import paired_interval, ratio_of_sums_interval
from gaelp.evaluation.judge import judge
from gaelp.learning import value
from gaelp.market.file import MarketFile, load
from gaelp.market.market import World
from gaelp.worlds.calibration.checking import coverage
from gaelp.worlds.calibration.fitting import UNIDENTIFIED
from gaelp.worlds.calibration.inference import Learner
from gaelp.worlds.calibration.parameters import FREE, levels_of, prior_world, with_start
from gaelp.worlds.calibration.simulating import Draws, Setting, batches_of, draw
from gaelp.worlds.calibration.writing import calibrated, posterior_spread
from gaelp.worlds.ga4_export import ADS, EVENTS_FOLDER, Ga4Options, export_ga4, status_quo
from gaelp.worlds.registry import make_policy
from gaelp.worlds.simulate import compile_market
from gaelp.worlds.tuned import tuned_for

MARKET = Path(__file__).parents[1] / "markets" / "family_safety.toml"
PRIOR_SEED, TRUE_SEED, AGENT_SEED = 0, 1001, 1002
LOW, HIGH, GAP = 0.85, 0.95, 0.7


def exported(base: MarketFile, world: World, setting: Setting) -> dict[str, Any]:
    """Statistics of a world, by way of its files, and what discovery says of them; nothing else is read."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        told, _ = export_ga4(
            folder,
            world,
            status_quo(base),
            n_people=setting.n_people,
            days=setting.n_days,
            options=Ga4Options(),
        )
        observed = read_observed(folder / EVENTS_FOLDER, folder / ADS, setting.n_people)
        found = discover(folder / EVENTS_FOLDER, now=dt.datetime.now(dt.UTC), ads=folder / ADS).data
    return {
        "statistics": statistics_of(observed).tolist(),
        "purchases": told["purchases"],
        "discovered": found["source"]["purchases"],
        "segments": len(found["segments"].get("items", [])),
    }


def true_worlds(
    base: MarketFile, setting: Setting, n_worlds: int, seed: int, kept: Path
) -> Iterator[tuple[World, dict[str, Any]]]:
    """Worlds of known levels and what their files say (`exported`), kept one by one."""
    for i in range(n_worlds):
        world = prior_world(base, seed, i)
        path = kept / f"true-{seed}-{i:03d}.json"
        if not path.is_file():
            write_text_atomic(path, as_json(exported(base, world, setting)))
        yield world, json.loads(path.read_text())


def learnt(base: MarketFile, setting: Setting, n_prior: int, kept: Path) -> Learner:
    """What the prior's worlds teach."""
    return Learner.of(draw(base, setting, n_prior, PRIOR_SEED, kept=kept))


def run_coverage(base: MarketFile, setting: Setting, options: argparse.Namespace, kept: Path) -> bool:
    """The first claim."""
    learner = learnt(base, setting, options.prior, kept)
    worlds = list(true_worlds(base, setting, options.worlds, TRUE_SEED, kept))
    held = Draws(
        np.array([levels_of(world.file, base) for world, _ in worlds]),
        np.array([told["statistics"] for _, told in worlds]),
    )
    found = coverage(learner, held)
    told = found.shrinkage <= UNIDENTIFIED
    parameters = {
        free.name: {
            "coverage": found.by_parameter[i],
            "width": found.shrinkage[i],
            "correlation": found.correlation[i],
            "rank_p": found.uniform_p[i],
        }
        for i, free in enumerate(FREE)
    }
    by_world = ((found.ranks > 0.05) & (found.ranks < 0.95))[:, told].mean(axis=1)
    discovered = [each["discovered"] for _, each in worlds] == [each["purchases"] for _, each in worlds]
    holds = LOW <= found.share <= HIGH and discovered
    result = {
        "worlds": len(held),
        "prior_worlds": options.prior,
        "people": setting.n_people,
        "days": setting.n_days,
        "coverage": found.share,
        "se": found.se,
        "identified": int(told.sum()),
        "coverage_of_identified": float(found.by_parameter[told].mean()),
        "se_of_identified": float(by_world.std(ddof=1) / np.sqrt(len(by_world))),
        "all_purchases_discovered": discovered,
        "segments_discovered": [each["segments"] for _, each in worlds],
        "holds": holds,
        "parameters": parameters,
    }
    print(as_json(result))
    return holds


def run_agent(base: MarketFile, setting: Setting, options: argparse.Namespace, kept: Path) -> bool:
    """The second claim."""
    learner = learnt(base, setting, options.prior, kept)
    rows = []
    for i, (world, told) in enumerate(true_worlds(base, setting, options.worlds, AGENT_SEED, kept)):
        sizes = (
            options.prior,
            options.practice,
            options.practice_people,
            options.judged,
            options.judged_people,
        )
        asked = "-".join(map(str, sizes))
        path = kept / f"agents-{i:03d}-{asked}.json"
        if not path.is_file():
            began = time.perf_counter()
            row = flown(base, world, learner, np.array(told["statistics"]), options)
            write_text_atomic(path, as_json({**row, "seconds": time.perf_counter() - began}))
        rows.append(json.loads(path.read_text()))
        print(f"world {i}: {rows[-1]}", file=sys.stderr, flush=True)
    holds = False
    result: dict[str, Any] = {"worlds": len(rows), "people": setting.n_people}
    for measure in ("booked", "expected"):
        pacing, base_profit, fitted, true = (
            np.array([row[measure][name] for row in rows])
            for name in ("pacing", "base", "calibrated", "true")
        )
        ahead = paired_interval(fitted, pacing)
        ratio = ratio_of_sums_interval(fitted - pacing, true - pacing)
        result[measure] = {
            "calibrated_less_pacing": ahead.as_dict(),
            "true_less_pacing": paired_interval(true, pacing).as_dict(),
            "calibrated_less_base": paired_interval(fitted, base_profit).as_dict(),
            "ratio": ratio.as_dict(),
        }
        if measure == "booked":
            holds = (ratio.mean or 0.0) >= GAP and (ahead.low or 0.0) > 0
    print(as_json({**result, "holds": holds}))
    return holds


def flown(
    base: MarketFile, world: World, learner: Learner, statistics: np.ndarray, options: argparse.Namespace
) -> dict[str, Any]:
    """Profit a judged world, USD: pacing and the agents of the base, the calibrated and the true market."""
    posterior = learner.posterior(statistics)
    fitted = calibrated(base, posterior.mean, base.ltv_usd)
    fitted = replace(fitted, spread=posterior_spread(base, posterior.draws))
    tuned = tuned_for(base)
    policies = {"pacing": make_policy("pacing", base), "base": make_policy("value", base)}
    with tempfile.TemporaryDirectory() as name:
        for who, file in (("calibrated", fitted), ("true", replace(world.file, spread={}))):
            place = Path(name) / f"{who}.json"
            value.train(
                file,
                tuned=tuned,
                epochs=1,
                minutes=None,
                n_worlds=options.practice,
                n_people=options.practice_people,
                out=place,
            )
            policies[who] = make_policy(str(place), base)
        worlds = [World(world.file, world.seed + 1 + i) for i in range(options.judged)]
        judged = judge(worlds, policies, n_people=options.judged_people, days=30, runoff_days=60, tuned=tuned)
    found: dict[str, Any] = {"booked": {}, "expected": {}}
    for who, sums in judged.results.items():
        for measure, revenue in (
            ("booked", "incremental_revenue_usd"),
            ("expected", "incremental_expected_value_usd"),
        ):
            found[measure][who] = float((sums[revenue] - sums["spend_usd"]).mean())
    return found


def main() -> None:
    """Run one study."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("study", choices=("coverage", "agent"))
    parser.add_argument("--worlds", type=int, default=None, help="true markets: 40, or 10 for agents")
    parser.add_argument("--prior", type=int, default=1024, help="worlds of the prior to learn on")
    parser.add_argument("--people", type=int, default=3000, help="people of each exported panel")
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--practice", type=int, default=8, help="worlds an agent trains in, twice")
    parser.add_argument("--practice-people", type=int, default=4000)
    parser.add_argument("--judged", type=int, default=16, help="lives of each true market that are judged")
    parser.add_argument("--judged-people", type=int, default=10_000)
    parser.add_argument("--keep", type=Path, default=Path("runs/calibration"))
    options = parser.parse_args()
    options.worlds = options.worlds or (40 if options.study == "coverage" else 10)
    market = load(MARKET)
    compile_market(market)
    setting = Setting(n_people=options.people, n_days=options.days)
    first_us = (
        int(np.datetime64(market.start, "us").astype(np.int64)) + 24 * setting.warm_up_days * 3_600_000_000
    )
    base = with_start(market, first_us, setting.warm_up_days)
    kept = batches_of(options.keep, base, setting, first_us, "")
    run = run_coverage if options.study == "coverage" else run_agent
    sys.exit(0 if run(base, setting, options, kept) else 1)


if __name__ == "__main__":
    main()
