"""The commands on the reference pages run as they stand there, and every option says what it is for."""

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from gaelp.cli.main import run

PAGES = Path(__file__).parents[2] / "docs" / "reference"
COMMANDS = {
    (page, command): line
    for page in ("attribution", "lag", "experiments")
    for block in re.findall(r"```bash\n(.*?)```", (PAGES / f"{page}.md").read_text(), re.DOTALL)
    for line in block.splitlines()
    if (command := line.split("#")[0].strip()) and not command.startswith("gaelp simulate")
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The files that the pages speak of, small."""
    made, rng = tmp_path_factory.mktemp("pages"), np.random.default_rng(0)

    def write(name, columns):
        rows = zip(*(np.asarray(column).tolist() for column in columns.values()), strict=True)
        lines = [",".join(str(cell) for cell in row) for row in rows]
        (made / name).write_text("\n".join([",".join(columns), *lines]) + "\n")

    n = 1_000
    lag, age, arm = rng.exponential(5.0, n), rng.uniform(1, 40, n), np.arange(n) % 2
    seen = (rng.random(n) < 0.4) & (lag < age)
    before = rng.normal(20, 5, n)
    write("clicks.csv", {
        "days": np.where(seen, lag, age), "converted": seen.astype(int),
        "channel": rng.choice(["a", "b"], n), "day": rng.integers(8, size=n),
    })  # fmt: skip
    write("units.csv", {
        "arm": np.where(arm, "new", "old"),
        "sales": before + rng.normal(0, 1, n) + arm,
        "sales_before": before,
    })  # fmt: skip
    days = np.arange(np.datetime64("2015-01-05"), np.datetime64("2015-03-16"))
    geo, day = (part.ravel() for part in np.meshgrid(np.arange(8), np.arange(days.size), indexing="ij"))
    write("sales.csv", {
        "geo": geo, "date": days.astype(str)[day], "cost": ((geo < 4) & (day >= 42)).astype(int),
        "sales": 100 + 10 * geo + rng.normal(0, 1, geo.size) + day % 7, "people": 1_000 + 100 * geo,
    })  # fmt: skip
    write("log.csv", {
        "click": rng.integers(2, size=n), "propensity_score": np.full(n, 0.5),
        "item_id": rng.integers(2, size=n), "position": rng.integers(3, size=n),
    })  # fmt: skip
    (made / "paths.csv").write_text("path,conversions,value,nulls\na > b,3,30,9\nb,2,20,20\na,0,0,30\n")
    who = rng.integers(60, size=n)
    kind = rng.choice(["impression", "click", "conversion"], n, p=[0.5, 0.4, 0.1])
    events = pyarrow.table({
        "world": who % 2, "person": who.astype(str), "time": 1_700_000_000 + 3_600 * np.arange(n),
        "channel": rng.choice(["search", "social"], n), "kind": kind, "value": 30.0 * (kind == "conversion"),
    })  # fmt: skip
    (made / "runs" / "look").mkdir(parents=True)
    for name in ("events.parquet", "runs/look/events.parquet"):
        parquet.write_table(events, made / name)
    # large enough that the ads cause something: there is no distance to nothing
    small = ["--worlds", "2", "--users", "4000", "--days", "14", "--runoff-days", "10"]
    tested = ["--events", "--lift-test", "0.1", "--out", str(made / "runs" / "tested")]
    assert run(["simulate", "--policy", "fixed", *small, *tested, "--json"]) == 0
    return made


@pytest.mark.parametrize("command", [command for _, command in COMMANDS])
def test_the_commands_on_the_pages_run(folder, monkeypatch, capfd, command):
    monkeypatch.chdir(folder)
    if "paths_odd" in command:
        return  # test_attribution_command.py runs it, where its data is
    arguments = shlex.split(command)[1:]
    if arguments[0] == "attribute" and "--bootstrap" not in arguments:
        arguments += ["--bootstrap", "4"]
    assert run(arguments) == 0, capfd.readouterr().err
    said = capfd.readouterr().out
    assert json.loads(said) if "--json" in arguments else said.strip()


def test_the_pages_have_commands():
    assert {page for page, _ in COMMANDS} == {"attribution", "lag", "experiments"} and len(COMMANDS) >= 10


@pytest.mark.parametrize(
    "command",
    ["lag", "attribute", *(f"experiment {sub}" for sub in ("ab", "sequential", "power", "geo", "ope"))],
)
def test_every_option_says_what_it_is_for(capfd, monkeypatch, command):
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TERMINAL_WIDTH", "200")
    assert run([*command.split(), "--help"]) == 0
    said = capfd.readouterr().out
    options = [line for line in said.splitlines() if re.search(r"^\W+--", line)]
    assert len(options) >= 4
    for line in options:
        assert len(re.findall(r"[A-Za-z]{2,}", re.sub(r"--[a-z-]+|\[.*?\]", "", line))) >= 2, line
