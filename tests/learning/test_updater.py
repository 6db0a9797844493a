"""The updater: episodes are learned once, in versions, and a version that does worse goes back."""

import datetime as dt
import multiprocessing
import os
import shutil
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gaelp.agents.baselines import FixedPolicy
from gaelp.core.errors import BadInput, GaelpError
from gaelp.core.words import LINES, N_LINES
from gaelp.learning.updater.background import BackgroundUpdater
from gaelp.learning.updater.bids import SegmentBids
from gaelp.learning.updater.config import UpdaterConfig
from gaelp.learning.updater.counts import table
from gaelp.learning.updater.models import Models
from gaelp.learning.updater.updating import LEARNED, REPEATED, Updater

from .updater_episodes import ALIKE, write_episode

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
SHORT = UpdaterConfig(horizon_days=3.0)


@pytest.fixture(scope="module")
def episodes(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    place = tmp_path_factory.mktemp("episodes")
    return [write_episode(place / f"{i}", seed=i, rates=ALIKE) for i in range(3)]


def state_of(folder: Path) -> bytes:
    updater = Updater(folder)
    return (updater.registry.get("champion").folder / "state.json").read_bytes()


def test_an_episode_is_counted_once_however_often_it_is_handed_in(
    tmp_path: Path, episodes: list[Path]
) -> None:
    updater = Updater(tmp_path, SHORT)
    first = updater.episode(episodes[0], NOW)
    models = updater.models()
    assert models is not None
    again = updater.episode(episodes[0], NOW)
    after = updater.models()
    assert (first.status, again.status, again.version) == (LEARNED, REPEATED, first.version)
    assert after is not None and after.counts == models.counts
    assert sum(table(models.counts, "visitors").values()) <= 401


def test_rates_of_a_known_world_are_found_again_by_channel(tmp_path: Path, episodes: list[Path]) -> None:
    updater = Updater(tmp_path, SHORT)
    for path in episodes:
        updater.episode(path, NOW)
    models = updater.models()
    assert models is not None
    for group, true in ALIKE.items():
        visits, sold, rate, low, high = models.sale_rates["everybody", group, "mobile", "new"]
        error = np.sqrt(true * (1 - true) / visits)
        assert abs(sold / visits - true) < 4 * error
        assert low < rate < high
        assert abs(rate - true) < 4 * error
    factors = dict(zip([line.name for line in LINES], models.line_factors, strict=True))
    assert factors["search_generic_mobile"] == 1.5  # 0.2 / 0.125 = 1.6, bounded
    assert factors["social_new_mobile"] == pytest.approx(1 / 1.5)  # 0.05 / 0.125 = 0.4, bounded
    assert factors["email"] == 1.0
    (segment,) = models.segment_rates()
    assert segment["low"] < 0.125 < segment["high"]


def test_pooled_counts_are_those_of_all_events_at_once(tmp_path: Path, episodes: list[Path]) -> None:
    one_by_one, at_once = (Updater(tmp_path / name, SHORT) for name in "ab")
    for path in episodes[:3]:
        one_by_one.episode(path, NOW)
    for i, path in enumerate(episodes[:3]):
        shutil.copytree(path / "events", tmp_path / "all" / "events" / str(i))
    at_once.episode(tmp_path / "all", NOW)
    counts = [updater.models().counts for updater in (one_by_one, at_once)]  # type: ignore[union-attr]
    for what in ("visits", "sold", "visitors", "buyers", "lag", "open"):
        assert table(counts[0], what) == table(counts[1], what), what
    lag = one_by_one.models().lag()  # type: ignore[union-attr]
    assert lag["days_of_buyers"]["0.5"] == 1.0


def test_a_purchase_in_a_later_episode_of_a_stream_counts_for_the_visit_before(tmp_path: Path) -> None:
    whole = write_episode(tmp_path / "whole", seed=1, rates=ALIKE)
    days = sorted((whole / "events").iterdir())
    for i, part in enumerate((days[:3], days[3:])):
        for file in part:
            (tmp_path / f"{i}" / "events").mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, tmp_path / f"{i}" / "events" / file.name)
    parts, once = (Updater(tmp_path / name, SHORT) for name in ("parts", "once"))
    for i in range(2):
        parts.episode(tmp_path / f"{i}", NOW, stream="shop")
    once.episode(whole / "events", NOW, stream="shop")
    counts = [updater.models().counts for updater in (parts, once)]  # type: ignore[union-attr]
    assert +counts[0] == +counts[1]


def test_rows_of_the_ad_report_of_other_days_are_left_out_and_counted(
    tmp_path: Path, episodes: list[Path]
) -> None:
    other = tmp_path / "other"
    shutil.copytree(episodes[0], other)
    with (other / "ads.csv").open("a") as file:
        for day in ("2025-02-28", "2025-03-09"):  # the tables hold the first eight days of March
            file.write(f"{day},0,social,social_new_mobile,700,70,5000000,\n")
        file.write("2025-03-08,0,social,social_new_mobile,10,1,1000000,\n")
    updater = Updater(tmp_path / "u", SHORT)
    update = updater.episode(other, NOW, stream="shop")
    models = updater.models()
    assert models is not None and update.ad_rows_outside == update.as_dict()["ad_rows_outside"] == 2
    line = ("social_new_mobile",)
    assert table(models.counts, "impressions")[line] == 1010
    assert table(models.counts, "cost_micros")[line] == 101_000_000
    # an episode of the same stream brings the ninth day; what it tells of that day counts then
    later = write_episode(tmp_path / "later", seed=7, rates=ALIKE, first_day=8)
    assert updater.episode(later, NOW, stream="shop").ad_rows_outside == 1
    after = updater.models()
    assert after is not None and table(after.counts, "impressions")[line] == 2010


AD_HEAD = "date,hour,channel,line,impressions,clicks,cost_micros,conversions\n"


def test_lines_of_two_channels_may_share_a_name(tmp_path: Path, episodes: list[Path]) -> None:
    other = tmp_path / "other"
    shutil.copytree(episodes[0], other)
    rows = ("search,brand,100,10,3000000,", "social,brand,1000,20,4000000,")
    (other / "ads.csv").write_text(AD_HEAD + "".join(f"2025-03-02,5,{row}\n" for row in rows))
    updater = Updater(tmp_path / "u", SHORT)
    updater.episode(other, NOW)
    models = updater.models()
    assert models is not None
    told = {what: table(models.counts, what)["brand",] for what in ("impressions", "clicks", "cost_micros")}
    assert told == {"impressions": 1100, "clicks": 30, "cost_micros": 7_000_000}


def test_an_empty_cell_of_a_later_episode_erases_nothing(tmp_path: Path, episodes: list[Path]) -> None:
    updater = Updater(tmp_path / "u", SHORT)
    later = write_episode(tmp_path / "later", seed=7, rates=ALIKE, first_day=8)
    told = (
        "2025-03-02,5,social,social_new_mobile,100,,3000000,\n",
        "2025-03-02,5,social,social_new_mobile,,9,4000000,\n",
    )
    for i, (path, row) in enumerate(zip((episodes[0], later), told, strict=True)):
        shutil.copytree(path, tmp_path / f"{i}")
        (tmp_path / f"{i}" / "ads.csv").write_text(AD_HEAD + row)
        updater.episode(tmp_path / f"{i}", NOW, stream="shop")
    models = updater.models()
    assert models is not None
    line = ("social_new_mobile",)
    found = [table(models.counts, what)[line] for what in ("impressions", "clicks", "cost_micros")]
    assert found == [100, 9, 4_000_000]
    assert [(each["impressions"], each["clicks"]) for each in models.click_rates()] == [(100, 9)]


def test_another_horizon_or_longest_lag_counts_the_window_anew(tmp_path: Path, episodes: list[Path]) -> None:
    for i, config in enumerate(
        (UpdaterConfig(horizon_days=0.5), UpdaterConfig(horizon_days=3.0, longest_lag_days=3))
    ):
        changed, same = (Updater(tmp_path / f"{name}{i}", config) for name in ("changed", "same"))
        before = Updater(tmp_path / f"changed{i}", SHORT)
        before.episode(episodes[0], NOW)
        first = before.episode(episodes[1], NOW, stream="shop")
        told, kept = changed.models(), before.models()
        assert told is not None and kept is not None  # nothing was counted anew yet, and the models say so
        assert told.as_dict() == kept.as_dict() and told.config.counted == SHORT.counted
        update = changed.episode(episodes[2], NOW)
        for path, stream in zip(episodes, (None, "shop", None), strict=True):
            same.episode(path, NOW, stream=stream)
        counts = [updater.models().counts for updater in (changed, same)]  # type: ignore[union-attr]
        assert +counts[0] == +counts[1]
        assert changed.models().config.horizon_days == config.horizon_days  # type: ignore[union-attr]
        assert first.logloss is not None and update.logloss is not None
        assert update.logloss["before"] is None and update.rolled_back is None  # not compared across horizons


def test_where_the_window_cannot_be_counted_anew_another_horizon_is_refused(
    tmp_path: Path, episodes: list[Path]
) -> None:
    updater = Updater(tmp_path, SHORT)
    updater.episode(episodes[0], NOW)
    shutil.rmtree(tmp_path / "episodes" / "e000001")
    with pytest.raises(BadInput, match=r"e000001.*--horizon-days 3"):
        Updater(tmp_path, UpdaterConfig(horizon_days=2.0)).episode(episodes[1], NOW)
    with BackgroundUpdater(tmp_path, UpdaterConfig(horizon_days=2.0)) as other:
        with pytest.raises(BadInput, match="--horizon-days 3"):
            other.drain(120.0)
    assert [each.name for each in updater.waiting()] == ["e000002"]
    assert [each.status for each in updater.work()] == [LEARNED]


def test_new_segments_reach_the_updater_the_agent_and_who_asked(tmp_path: Path) -> None:
    heard: list[Models] = []
    config = UpdaterConfig(horizon_days=3.0, discover_every=2)
    updater = Updater(tmp_path / "u", config, on_segments=[heard.append])
    devices = {"Paid Search": "desktop", "Paid Social": "mobile"}
    for seed in range(2):
        path = write_episode(tmp_path / f"{seed}", seed=seed, rates=ALIKE, n=600, devices=devices)
        update = updater.episode(path, NOW)
    assert update.discovery is not None and update.is_news
    models = updater.models()
    assert models is not None and heard == [models]
    assert list(models.segments.names) == update.discovery["segments"] == update.discovery["new"]
    mix = models.audiences()["lines"]
    own = {line: max(shares, key=lambda each: shares[each]) for line, shares in mix.items()}
    search, social = own["search_generic_desktop"], own["social_new_mobile"]
    assert search != social
    assert mix["search_generic_desktop"][search] > 0.99 < mix["social_new_mobile"][social]
    rates = {each["id"]: each for each in models.segment_rates()}
    for segment, true in ((search, 0.2), (social, 0.05)):
        error = np.sqrt(true * (1 - true) / rates[segment]["n"])
        assert abs(rates[segment]["rate"] - true) < 4 * error
    policy = updater.policy(FixedPolicy())
    assert isinstance(policy, SegmentBids)
    assert policy.factors.tolist() == models.line_factors.tolist()


def test_the_window_forgets_the_oldest_episode(tmp_path: Path, episodes: list[Path]) -> None:
    updater, last = (
        Updater(tmp_path / "a", UpdaterConfig(horizon_days=3.0, window=2)),
        Updater(tmp_path / "b", SHORT),
    )
    for path in episodes[:3]:
        updater.episode(path, NOW)
    for path in episodes[1:3]:
        last.episode(path, NOW)
    assert updater.models().counts == last.models().counts  # type: ignore[union-attr]
    assert len(updater.episodes.all()) == 2
    assert updater.episode(episodes[0], NOW).status == REPEATED


def test_a_version_that_predicts_worse_goes_back_and_what_it_learned_is_set_aside(
    tmp_path: Path, episodes: list[Path]
) -> None:
    config = UpdaterConfig(horizon_days=3.0, degradation=0.3)
    updater = Updater(tmp_path / "u", config)
    updater.episode(episodes[0], NOW)
    good = updater.registry.aliases()["champion"]
    odd = write_episode(tmp_path / "odd", seed=9, rates={"Paid Search": 0.97, "Paid Social": 0.97}, n=4000)
    updater.episode(odd, NOW)
    update = updater.episode(episodes[1], NOW)
    assert update.rolled_back is not None
    assert update.rolled_back["code"] == "logloss_degraded"
    assert (update.rolled_back["to"], update.rolled_back["set_aside"]) == (good, ["e000002"])
    assert update.rolled_back["value"] > 0.3
    clean = Updater(tmp_path / "clean", config)
    for path in episodes[:2]:
        clean.episode(path, NOW)
    assert updater.models().counts == clean.models().counts  # type: ignore[union-attr]
    assert updater.episode(odd, NOW).status == REPEATED
    assert [each["action"] for each in updater.history()] == ["promote", "promote", "rollback", "promote"]
    champion = updater.registry.check("champion")
    assert champion.lineage.parent == good


def test_a_version_whose_profits_fall_by_more_than_luck_goes_back(tmp_path: Path) -> None:
    config = UpdaterConfig(horizon_days=3.0, profit_episodes=2)
    updater = Updater(tmp_path / "u", config)
    updater.episode(write_episode(tmp_path / "0", seed=0, rates=ALIKE), NOW)
    good = updater.registry.aliases()["champion"]
    for i, cost in enumerate([10, 20, 4500, 4501], 1):
        rates = ALIKE
        flown = good if i <= 2 else "v000003"
        path = write_episode(tmp_path / f"{i}", seed=i, rates=rates, cost_usd=cost)
        update = updater.episode(path, NOW, flown=flown)
    assert update.rolled_back is not None
    assert (update.rolled_back["code"], update.rolled_back["to"]) == ("profit_degraded", good)
    assert update.rolled_back["set_aside"] == ["e000002", "e000003", "e000004"]
    assert len(updater._versions.champion().learned) == 2


def test_in_the_background_versions_are_the_same_also_after_a_death(
    tmp_path: Path, episodes: list[Path]
) -> None:
    config = UpdaterConfig(horizon_days=3.0, discover_every=3)
    sync = Updater(tmp_path / "sync", config)
    expected = [sync.episode(path, NOW) for path in episodes]
    heard: list[tuple[str, ...]] = []
    tell = [lambda models: heard.append(models.segments.names)]
    with BackgroundUpdater(tmp_path / "async", config) as updater:
        updater.submit(episodes[0], NOW)
        assert updater._process.pid is not None
        os.kill(updater._process.pid, signal.SIGKILL)  # it is still waking up
        with pytest.raises(GaelpError, match="died"):
            updater.drain(120.0)
    with BackgroundUpdater(tmp_path / "async", config, on_segments=tell) as updater:
        for path in episodes[1:]:
            updater.submit(path, NOW)
        assert updater.drain(300.0) == expected
        updater.updater.episodes.add(_unreadable(tmp_path), NOW)
        updater._ask("learn")
        with pytest.raises(BadInput, match="one event as JSON"):
            updater.drain(120.0)
    for mine, theirs in zip(updater.updater.registry.versions(), sync.registry.versions(), strict=True):
        assert mine.files == theirs.files
    assert bool(heard) == any(update.is_news for update in expected)


def test_no_more_may_wait_than_there_is_room_for(tmp_path: Path, episodes: list[Path]) -> None:
    updater = Updater(tmp_path, UpdaterConfig(horizon_days=3.0, waiting=2))
    for path in episodes[:2]:
        updater.submit(path, NOW)
    with pytest.raises(BadInput, match="episodes waiting"):
        updater.submit(episodes[2], NOW)
    assert len(updater.work()) == 2


def learn_and_die(folder: Path, episodes: list[Path], last: int) -> None:
    """Learn episodes in a process that is killed at a rename, after `last` of them."""
    left = [last]

    def dying(real: Callable[..., None]) -> Callable[..., None]:
        def rename(*arguments: Any) -> None:
            left[0] -= 1
            if left[0] < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            real(*arguments)

        return rename

    os.rename, os.replace = dying(os.rename), dying(os.replace)
    updater = Updater(folder, SHORT)
    updater.work()
    for path in episodes:
        updater.episode(path, NOW)


def test_killed_at_any_step_it_counts_each_episode_once(tmp_path: Path, episodes: list[Path]) -> None:
    sync = Updater(tmp_path / "sync", SHORT)
    for path in episodes:
        sync.episode(path, NOW)
    folder, killed = tmp_path / "killed", 0
    for last in range(1, 40):
        process = multiprocessing.get_context("fork").Process(
            target=learn_and_die, args=(folder, episodes, last)
        )
        process.start()
        process.join()
        if Updater(folder).registry.aliases()["champion"] is not None:
            Updater(folder).registry.check("champion")
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL
        killed += 1
    assert killed >= 5
    assert state_of(folder) == state_of(tmp_path / "sync")


def test_bids_follow_the_models_and_stay_within_bounds(tmp_path: Path, episodes: list[Path]) -> None:
    updater = Updater(tmp_path, UpdaterConfig(horizon_days=3.0, most=1.2))
    base = FixedPolicy()
    assert updater.policy(base) is base
    updater.episode(episodes[0], NOW)
    policy = updater.policy(base)
    assert isinstance(policy, SegmentBids)
    assert policy.version == "v000001"
    assert policy.factors.min() >= 1 / 1.2 and policy.factors.max() <= 1.2
    with pytest.raises(BadInput, match="factors"):
        SegmentBids(base, np.full(N_LINES, np.nan))


def _unreadable(place: Path) -> Path:
    folder = place / "bad"
    folder.mkdir()
    (folder / "events_20250301.json").write_text("no json\n")
    return folder


def test_an_episode_that_cannot_be_read_is_refused_and_waits_no_more(
    tmp_path: Path, episodes: list[Path]
) -> None:
    bad = _unreadable(tmp_path)
    updater = Updater(tmp_path / "u", SHORT)
    with pytest.raises(BadInput, match="one event as JSON"):
        updater.episode(bad, NOW)
    assert updater.waiting() == []
    assert updater.episode(episodes[0], NOW).status == LEARNED
    with pytest.raises(BadInput, match="stream"):
        updater.submit(episodes[1], NOW, stream="../shop")
    assert Counter(each.name for each in updater.episodes.all()).total() == 1
