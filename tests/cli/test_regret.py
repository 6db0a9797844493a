"""`gaelp regret` and `gaelp understand` print one object, keep a page, and refuse what makes no sense."""

import json

import pytest

from gaelp.evaluation import parts
from gaelp.evaluation.parts import Parts
from gaelp.market.file import load
from gaelp.worlds.registry import write_checkpoint

FILE = load("markets/family_safety.toml")

WHOLE = parts.write_json
SMALL = ("--spread-only", "--points", 42, "--rounds", 1, "--tries", 2, "--confirm-worlds", 2, "--users", 100,
         "--days", 1, "--runoff-days", 1)  # fmt: skip


@pytest.mark.slow
def test_a_map_is_printed_and_kept_and_an_interrupted_one_ends_the_same(gaelp, tmp_path, monkeypatch):
    found = gaelp("regret", *SMALL, "--out", tmp_path / "map", "--json").json
    assert found["policy"] == "value" and found["baseline"] == "pacing"
    assert len(found["levers"]) == 32 and len(found["flown"]["steps"]) == 44
    assert {"as stated", "all levers at their worst"} < {case["name"] for case in found["cases"]}
    assert all(lever["in_spread"] for lever in found["levers"])
    kept = json.loads((tmp_path / "map" / "result.json").read_text())
    assert kept["found"] == found["found"]
    page = (tmp_path / "map" / "report.html").read_text()
    assert (
        "gaelp regret value --spread-only --points 42" in page and "https://" not in page.split("plotly")[0]
    )
    assert all(case["p_holm"] >= case["p_value"] for case in found["cases"])
    assert not (tmp_path / "map.parts").exists()

    monkeypatch.setattr(parts, "write_json", lambda path, data: (WHOLE(path, data), _interrupt(path)))
    stopped = gaelp("regret", *SMALL, "--out", tmp_path / "again")
    monkeypatch.undo()
    assert stopped.code == 130 and "what was flown is kept in" in stopped.err
    again = stopped.err.partition("to go on: ")[2].splitlines()[0]
    assert again.endswith(f"--out {tmp_path / 'again'} --resume")
    assert (tmp_path / "again.parts").is_dir() and not (tmp_path / "again").exists()
    refused = gaelp("regret", *SMALL, "--out", tmp_path / "again")
    assert refused.code == 2 and "Go on with it: --resume" in refused.err
    for other in (("--users", 101), ("--baseline", "target_cpa"), ("--seed", 1)):
        refused = gaelp("regret", *SMALL, *other, "--resume", "--out", tmp_path / "again")
        assert refused.code == 2 and "as it was begun" in refused.err and other[0][2:] in refused.err
    resumed = gaelp("regret", *SMALL, "--resume", "--out", tmp_path / "again", "--json").json
    assert resumed == found
    assert not (tmp_path / "again.parts").exists()


def _interrupt(path, parts_done=2):
    if len(list(path.parent.glob("[0-9]*"))) == parts_done:
        raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["pacing"], "another than the policy"),
        (["valeu"], "value"),
        (["informed"], "informed"),
        (["--parameter", "lag_share"], "add up to 1"),
        (["--points", "10"], "41 levers"),
        (["--reach", "0"], "reach"),
        (["--resume"], "evaluation that was stopped"),
    ],
)
def test_bad_input_is_refused_at_once(gaelp, tmp_path, arguments, said):
    ran = gaelp("regret", *arguments, "--out", tmp_path / "map")
    assert ran.code == 2 and said in ran.err and not (tmp_path / "map").exists()


def test_a_search_by_another_checkpoint_or_other_code_is_not_resumed(gaelp, tmp_path):
    """What flies is known by its content: a checkpoint that was trained on under its name is another."""
    mine = write_checkpoint(tmp_path / "mine.json", FILE, {"social_new_mobile": 1.5}, agent="value")
    noted = Parts.of(tmp_path / "map").folder / "evaluation.json"
    search = ("regret", mine, *SMALL, "--out", tmp_path / "map")

    def refused():
        ran = gaelp(*search, "--resume")
        assert ran.code == 2
        return ran.err

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parts, "write_json", lambda path, data: (WHOLE(path, data), _interrupt(path, 1)))
        assert gaelp(*search).code == 130
    write_checkpoint(tmp_path / "mine.json", FILE, {"social_new_mobile": 2.5}, agent="value")
    assert "flown" in refused() and "as it was begun" in refused()
    write_checkpoint(tmp_path / "mine.json", FILE, {"social_new_mobile": 1.5}, agent="value")
    WHOLE(noted, json.loads(noted.read_text()) | {"code": "another"})
    assert "code" in refused()


def test_an_understanding_is_printed_and_kept(gaelp, tmp_path):
    sizes = ("--worlds", 2, "--users", 300, "--days", 3, "--runoff-days", 2)
    found = gaelp("understand", *sizes, "--out", tmp_path / "why", "--json").json
    assert {row["line"] for row in found["lines"]} >= {"email", "video_new_mobile"}
    assert set(found["told_share"]) == {"value", "pacing", "target_cpa"}
    assert len(found["more_spend_by_hour"]["pacing"][0]) == 24
    assert (tmp_path / "why" / "report.html").is_file()


def test_only_value_is_understood(gaelp):
    ran = gaelp("understand", "pacing")
    assert ran.code == 2 and "must be value" in ran.err
