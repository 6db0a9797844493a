"""Creatives whose true chance of a click is known, models of them, and what came of their predictions."""

import datetime as dt
import shutil

import numpy as np

from gaelp.data.tables import CodedColumn
from gaelp.journeys.database import Database
from gaelp.prediction.accuracy import AccuracyTracker, Outcome, Served
from gaelp.prediction.examples import Columns, Examples
from gaelp.prediction.model import save
from gaelp.prediction.registry import Lineage, Registry
from gaelp.prediction.schema import metadata
from gaelp.prediction.training import Recipe, train

SITES = ("arts", "games", "news", "sport")
TABLE = Columns(label="click", numeric=("x",), categorical=("site",))
FEATURES = {"x": 0.25, "site": "news"}
A_DAY = dt.timedelta(days=1)


def creatives(n, seed, shift=0.0):
    """(n,) numbers and words, and the true chance of a click, whose logit may be shifted."""
    rng = np.random.default_rng(seed)
    x, site = rng.normal(size=n), rng.integers(0, len(SITES), n)
    chance = 1 / (1 + np.exp(3.0 - shift - 0.8 * x - np.array([-0.6, 0.0, 0.3, 0.6])[site]))
    return x, site, chance


def save_model(folder, n=20_000):
    """A model that has learnt what there is to learn, in a folder."""
    x, site, chance = creatives(n, seed=1)
    clicked = np.random.default_rng(2).random(n) < chance
    examples = Examples(TABLE, clicked, x[:, None], (CodedColumn("site", site.astype(np.int32), SITES),))
    save(train(examples, Recipe(holdout=0.0)), folder)
    return folder


def promote(models, folder, now):
    """Make a model the champion of a registry."""
    registry = Registry(models)
    version = registry.register(folder, Lineage.of_model(folder), who="test", why="to serve", now=now)
    registry.promote(version.name, who="test", why="to serve", now=now)
    return version.name


def forget(folder):
    """Empty the tables and the registry of a service, which may be running."""
    shutil.rmtree(folder / "models", ignore_errors=True)
    database = Database(f"sqlite:///{folder}/service.db")
    with database.writing() as connection:
        for table in metadata.sorted_tables:
            connection.execute(table.delete())
    database.close()


def tell(
    database, now, *, version="none", days=14, first=1, n=150, trials=600, shift=0.0, believed=0.0, seed=0
):
    """What creatives came to on the days before today, by the true chance with the logit shifted.

    Args:
        version: that made the predictions, which are right but for `believed`, a shift of their logits.
        days: how many, from `first` days ago back. n: creatives a day. trials: impressions of each.
    """
    rng = np.random.default_rng(seed)
    with AccuracyTracker(database) as tracker:
        for day in (now.date() - dt.timedelta(days=first + each) for each in range(days)):
            x, site, chance = creatives(n, int(rng.integers(2**31)), shift)
            logit = np.log(chance / (1 - chance)) - shift + believed
            at = dt.datetime.combine(day, dt.time(6), dt.UTC)
            ids = [f"{version}-{day}-{each}" for each in range(n)]
            tracker.record(
                Served(
                    prediction_id=ids[each],
                    model_version=version,
                    video_id=f"clip-{each}",
                    predicted=float(1 / (1 + np.exp(-logit[each]))),
                    at=at,
                    features={"x": float(x[each]), "site": SITES[site[each]]},
                )
                for each in range(n)
            )
            clicks = rng.binomial(trials, chance)
            tracker.match(
                (
                    Outcome(prediction_id=ids[each], day=day, trials=trials, events=int(clicks[each]))
                    for each in range(n)
                ),
                now,
            )
