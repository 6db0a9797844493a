"""Calibration: files and arrays say the same, intervals keep their word, the market file is read back."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from gaelp.core.errors import BadInput
from gaelp.data.calibration_reading import read_observed
from gaelp.data.calibration_targets import STATISTICS, statistics_of
from gaelp.market.file import MarketFile, load
from gaelp.worlds.calibration import checking
from gaelp.worlds.calibration.checking import coverage, journey_area, predictive_p, uniform_p
from gaelp.worlds.calibration.fitting import calibrate
from gaelp.worlds.calibration.inference import READ, Learner, Posterior, Smoother
from gaelp.worlds.calibration.parameters import (
    FREE,
    SIGMA,
    at_levels,
    levels_in_units,
    levels_of,
    prior_world,
    with_start,
)
from gaelp.worlds.calibration.simulating import Draws, Setting, batches_of, draw, observe
from gaelp.worlds.calibration.writing import calibrated, posterior_spread, write_market
from gaelp.worlds.ga4_export import ADS, EVENTS_FOLDER, Ga4Options, export_ga4, status_quo
from gaelp.worlds.splits import drawn_world, plain_worlds

Floats = NDArray[np.float64]
MARKET = Path(__file__).parents[2] / "markets" / "family_safety.toml"
NAMES = [free.name for free in FREE]
SMALL = Setting(n_people=2000, n_days=10, warm_up_days=3)


@pytest.fixture(scope="module")
def base() -> MarketFile:
    return load(MARKET)


@pytest.fixture(scope="module")
def exports(base: MarketFile, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[bool, Path]]:
    """One world of the prior as files, without and with the flaws of real exports."""
    folders = {}
    for flaws in (False, True):
        folders[flaws] = tmp_path_factory.mktemp("export")
        export_ga4(
            folders[flaws],
            prior_world(base, 7, 0),
            status_quo(base),
            n_people=SMALL.n_people,
            days=SMALL.n_days,
            options=Ga4Options(flaws=flaws),
            warm_up_days=SMALL.warm_up_days,
        )
        (folders[flaws] / "truth.json").unlink()  # nothing of a calibration may need it
    return folders


def read(folder: Path) -> Floats:
    return statistics_of(read_observed(folder / EVENTS_FOLDER, folder / ADS, SMALL.n_people))


@pytest.mark.slow
def test_files_and_arrays_of_a_world_have_the_same_statistics(
    base: MarketFile, exports: dict[bool, Path]
) -> None:
    worlds = [prior_world(base, 7, i) for i in (0, 1)]
    seen = observe(worlds, SMALL)[0]
    told = read_observed(exports[False] / EVENTS_FOLDER, exports[False] / ADS, SMALL.n_people)
    assert (seen.n_days, seen.first_us) == (told.n_days, told.first_us)
    np.testing.assert_allclose(statistics_of(told), statistics_of(seen), atol=1e-12)


@pytest.mark.slow
def test_flaws_of_real_exports_hardly_move_statistics(exports: dict[bool, Path]) -> None:
    clean, flawed = read(exports[False]), read(exports[True])
    assert np.abs(flawed - clean).max() < 0.25  # one late visit of a rare channel
    assert np.abs(flawed - clean).mean() < 0.02


def test_levels_are_zero_at_the_base_and_come_back(base: MarketFile) -> None:
    assert levels_of(base, base) == pytest.approx(np.zeros(len(FREE)))
    levels = 0.5 * SIGMA * np.random.default_rng(0).standard_normal(len(FREE))
    world = prior_world(base, 3, 0).file
    moved = at_levels(world, base, levels)
    np.testing.assert_allclose(levels_of(moved, base), levels, atol=1e-6)
    for name in ("lag_share", "segment_share"):
        assert moved.parameters[name].value.sum() == pytest.approx(world.parameters[name].value.sum())
    price, before = moved.parameters["price_level"].value, world.parameters["price_level"].value
    np.testing.assert_allclose(price[:4] / price[0], before[:4] / before[0])


def test_where_an_element_meets_the_end_of_its_range_the_others_go_further(base: MarketFile) -> None:
    levels = np.zeros(len(FREE))
    levels[NAMES.index("direct_activity")] = 0.5  # its largest element is at the end of the range already
    moved = at_levels(base, base, levels)
    assert levels_of(moved, base) == pytest.approx(levels, abs=1e-9)
    value, before = (file.parameters["direct_per_day"].value for file in (moved, base))
    assert value.max() == before.max() == base.parameters["direct_per_day"].high
    others = before < before.max()
    assert value[others] / before[others] == pytest.approx(np.exp(0.6))


def test_units_of_levels_are_those_of_the_market_file(base: MarketFile) -> None:
    units = dict(zip(NAMES, levels_in_units(base, np.zeros(len(FREE))), strict=True))
    assert units["buy_rate"] == pytest.approx(base.parameters["buy_rate"].value)
    assert units["social_activity"] == pytest.approx(base.parameters["activity_per_day"].value[0])
    assert units["brand"] == pytest.approx(base.parameters["brand_prior"].value)


def test_worlds_of_the_prior_are_as_wide_as_it_says_and_keep_bounds(base: MarketFile) -> None:
    levels = np.array([levels_of(prior_world(base, 5, i).file, base) for i in range(200)])
    error = levels.std(axis=0) / SIGMA - 1
    assert np.abs(error).max() < 4 / np.sqrt(400)
    bounds = np.stack([-0.2 * SIGMA, 0.6 * SIGMA], axis=1)
    kept = np.array([levels_of(prior_world(base, 5, i, bounds).file, base) for i in range(20)])
    assert (kept >= bounds[:, 0] - 1e-6).all() and (kept <= bounds[:, 1] + 1e-6).all()


def test_a_file_starts_so_that_its_flight_begins_with_the_data(base: MarketFile) -> None:
    first = np.datetime64("2026-01-31T00:00", "us")
    assert str(with_start(base, int(first.astype(np.int64)), 60).start) == "2025-12-02"


def test_left_out_predictions_are_those_of_learning_without_the_row_at_the_best_setting() -> None:
    generator = np.random.default_rng(2)
    x = generator.standard_normal((40, 6))
    y = np.stack([x[:, 0] + 0.1 * generator.standard_normal(40), np.sin(2 * x[:, 1])], axis=1)
    found = Smoother.of(x, y)
    from gaelp.worlds.calibration import inference

    # every kernel and penalty that is tried, each row predicted by all others
    best = np.full(2, np.inf)
    told = np.zeros((40, 2))
    mean = y.mean(axis=0)
    for bend in inference._BENDS:
        kernel = inference._kernel(x, x, bend)
        for penalty in inference._PENALTIES:
            predicted = np.empty((40, 2))
            for row in range(40):
                rest = np.arange(40) != row
                gram = kernel[np.ix_(rest, rest)] + penalty * np.eye(39)
                predicted[row] = kernel[row, rest] @ np.linalg.solve(gram, (y - mean)[rest]) + mean
            error = ((y - predicted) ** 2).mean(axis=0)
            better = error < best
            best[better] = error[better]
            told[:, better] = predicted[:, better]
    np.testing.assert_allclose(found.left_out, told, atol=1e-7)


def linear_draws(n: int, seed: int, noise: float = 0.5) -> Draws:
    """Levels of a normal prior, each seen through one statistic with normal noise."""
    generator = np.random.default_rng(seed)
    levels = SIGMA * generator.standard_normal((n, len(FREE)))
    statistics = generator.standard_normal((n, len(STATISTICS)))
    at = np.flatnonzero(READ)[: len(FREE)]
    statistics[:, at] = levels + noise * SIGMA * generator.standard_normal(levels.shape)
    return Draws(levels, statistics)


@pytest.mark.statistical
def test_a_normal_posterior_is_the_one_of_the_textbook() -> None:
    learner = Learner.of(linear_draws(700, 0))
    held = linear_draws(60, 1)
    at = np.flatnonzero(READ)[: len(FREE)]
    found = [learner.posterior(statistics) for statistics in held.statistics]
    weight = 1 / (1 + 0.5**2)  # prior precision 1, of the data 4
    theory = weight * held.statistics[:, at]
    means = np.array([each.mean for each in found])
    assert np.abs((means - theory) / SIGMA).mean() < 0.12
    sd = np.array([each.sd for each in found]).mean(axis=0) / SIGMA
    assert sd == pytest.approx(np.full(len(FREE), 0.5 * np.sqrt(weight)), rel=0.1)


@pytest.mark.statistical
def test_intervals_hold_as_often_as_they_claim_and_ranks_are_uniform() -> None:
    learner = Learner.of(linear_draws(800, 2))
    found = coverage(learner, linear_draws(150, 3))
    assert abs(found.share - 0.9) < 4 * found.se
    assert (found.uniform_p > 1e-4).all()
    np.testing.assert_allclose(learner.explained(), 0.8, atol=0.08)


@pytest.mark.statistical
def test_a_second_round_near_the_data_sharpens_a_bent_relation() -> None:
    at = np.flatnonzero(READ)[0]

    def bent(n: int, seed: int, bounds: Floats | None = None) -> Draws:
        """The first level is seen through a wave, the others not at all."""
        generator = np.random.default_rng(seed)
        levels = SIGMA * generator.standard_normal((20 * n, len(FREE)))
        if bounds is not None:
            first = levels[:, 0]
            levels = levels[(first >= bounds[0, 0]) & (first <= bounds[0, 1])]
        levels = levels[:n]
        statistics = generator.standard_normal((len(levels), len(STATISTICS)))
        z = levels[:, 0] / SIGMA[0]
        statistics[:, at] = z + 0.4 * np.sin(2 * z) + 0.05 * generator.standard_normal(len(z))
        return Draws(levels, statistics)

    draws, held = bent(120, 0), bent(12, 1)
    errors, inside = [], []
    for i, (levels, statistics) in enumerate(zip(held.levels, held.statistics, strict=True)):
        first = Learner.of(draws).posterior(statistics)
        bounds = first.bounds()
        bounds[1:] = [-np.inf, np.inf]
        second = Learner.of(draws.within(bounds) + bent(150, 2 + i, bounds)).posterior(statistics)
        errors.append([abs(found.mean[0] - levels[0]) for found in (first, second)])
        low, high = second.interval(0.9)[0]
        inside.append(low <= levels[0] <= high)
    before, after = np.mean(errors, axis=0)
    assert after < 0.8 * before
    assert sum(inside) >= 8  # of 12; fewer by luck: one in 200


def test_intervals_that_are_too_narrow_are_found_out() -> None:
    learner = Learner.of(linear_draws(400, 4))
    narrow = Learner(
        learner.centre, learner.scale, learner.levels, learner.spread, 0.4 * learner.errors, learner.prior_sd
    )
    found = coverage(narrow, linear_draws(100, 5))
    assert found.share < 0.7
    assert np.median(found.uniform_p) < 0.01


def test_an_interval_of_draws_has_the_ends_of_one_more_draw() -> None:
    draws = np.arange(1.0, 100.0)[:, None]  # 99 draws: a hundredth draw is between the 5th and 95th in 90 %
    assert Posterior(np.array([50.0]), draws).interval(0.9).tolist() == [[5.0, 95.0]]


def test_predictive_p_is_small_only_where_the_data_stand_apart() -> None:
    simulated = np.tile(np.arange(1.0, 100.0)[:, None], 4)  # one is added to the 99 below and above
    real = np.array([50.0, 10.5, 95.5, 200.0])  # 50, 10, 4 and none as far out
    assert predictive_p(real, simulated) == pytest.approx([1.0, 22 / 100, 10 / 100, 2 / 100])
    assert uniform_p(np.zeros((50, 1)))[0] < 1e-6


@pytest.mark.slow
def test_a_classifier_tells_another_market_apart_and_not_the_same_one(base: MarketFile) -> None:
    setting = Setting(n_people=3000, n_days=8, warm_up_days=3)
    worlds = observe(plain_worlds(base, 3, 1), setting)
    same = journey_area(worlds[0], worlds[1:], 0)
    assert same.low < 0.5 + 0.03 and same.high > 0.5 - 0.03
    levels = np.zeros(len(FREE))
    for name, level in (("direct_activity", 1.2), ("sign_up", 1.2), ("social_click", -1.2)):
        levels[NAMES.index(name)] = level
    other = observe([plain_worlds(at_levels(base, base, levels), 1, 2)[0]], setting)
    told = journey_area(worlds[0], other, 0)
    assert told.low > 0.55


@pytest.mark.statistical
def test_the_classifier_finds_nothing_in_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    monkeypatch.setattr(checking, "journey_table", lambda n: generator.standard_normal((n, 8)))
    found = [journey_area(100, [200, 200], seed) for seed in range(16)]  # type: ignore[arg-type, list-item]
    areas = np.array([each.auc for each in found])
    assert abs(areas.mean() - 0.5) < 4 * areas.std(ddof=1) / 4
    assert sum(each.low <= 0.5 <= each.high for each in found) >= 11


def test_the_market_file_is_read_back_and_worlds_can_be_drawn_from_it(
    base: MarketFile, tmp_path: Path
) -> None:
    levels = 0.4 * SIGMA * np.random.default_rng(3).standard_normal(len(FREE))
    file = calibrated(base, levels, 150.0)
    draws = levels + 0.3 * SIGMA * np.random.default_rng(4).standard_normal((50, len(FREE)))
    spread = posterior_spread(base, draws)
    path = tmp_path / "fitted" / "market.toml"
    write_market(path, file, base, spread, "Made by: a test")
    back = load(path)
    np.testing.assert_allclose(levels_of(back, base), levels, atol=1e-6)
    assert back.ltv_usd == 150.0
    assert back.start == base.start and back.people == base.people
    assert back.spread == pytest.approx(spread)
    assert spread["buy_rate"] > base.spread["buy_rate"]
    assert spread["rival_budget"] == base.spread["rival_budget"]
    drawn = [drawn_world(back, "train", 0, i).file.parameters["consent_share"].value for i in range(20)]
    assert np.std(drawn, axis=0).min() > 0
    assert (back.rivals, back.targets, back.visibility) == (base.rivals, base.targets, base.visibility)


@pytest.mark.slow
def test_what_the_data_tell_is_found_again_and_kept_worlds_are_used(
    base: MarketFile, exports: dict[bool, Path], tmp_path: Path
) -> None:
    truth = levels_of(prior_world(base, 7, 0).file, base)
    observed = read_observed(exports[False] / EVENTS_FOLDER, exports[False] / ADS, SMALL.n_people)
    kept = batches_of(tmp_path, base, SMALL, observed.first_us, "")
    found = calibrate(observed, base, SMALL, n_worlds=96, seed=11, kept=kept)
    low, high = found.posterior.interval(0.99).T
    told = found.width < 0.6
    assert {"consent", "direct_activity"} <= {
        name for name, is_told in zip(NAMES, told, strict=True) if is_told
    }
    assert ((truth >= low) & (truth <= high)).mean() > 0.85
    assert np.corrcoef(found.posterior.mean[told], truth[told])[0, 1] > 0.6
    figures = found.figures()
    assert set(figures["parameters"]) == set(NAMES)
    assert "goodwill_click" in figures["unidentified"]
    assert len(figures["misfits"]) < 0.25 * len(STATISTICS)
    assert 0.0 <= figures["journeys"]["low"] <= figures["journeys"]["auc"] <= 1.0
    again = draw(found.base, SMALL, 96, 11, kept=kept, tick=lambda _: None)
    np.testing.assert_array_equal(again.statistics, found.prior)
    batch = next(kept.glob("worlds-11-*.npz"))
    batch.write_bytes(batch.read_bytes()[:100])
    with pytest.raises(BadInput, match=f"{batch.name}.*must be whole"):
        draw(found.base, SMALL, 96, 11, kept=kept, tick=lambda _: None)


def test_too_few_worlds_and_another_length_are_refused(base: MarketFile, exports: dict[bool, Path]) -> None:
    observed = read_observed(exports[False] / EVENTS_FOLDER, exports[False] / ADS, SMALL.n_people)
    with pytest.raises(BadInput, match="worlds"):
        calibrate(observed, base, SMALL, n_worlds=10)
    with pytest.raises(BadInput, match="days"):
        calibrate(observed, base, Setting(n_people=2000, n_days=7), n_worlds=64)
