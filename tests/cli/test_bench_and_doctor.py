"""`gaelp bench` and `gaelp doctor`."""

import json
import shutil
from pathlib import Path

import numba
import pytest

from gaelp.cli import doctor
from gaelp.core.files import sha256_of
from gaelp.market.file import load
from gaelp.worlds.splits import HELDOUT

from .conftest import REPOSITORY, Gaelp


def test_bench_has_its_keys_and_leaves_the_threads_as_they_were(gaelp: Gaelp, market_file: Path) -> None:
    threads = numba.get_num_threads()
    found = gaelp("bench", "market", "--quick", "--market", market_file, "--json").json
    assert numba.get_num_threads() == threads
    ns = found["ns_per_opportunity"]
    assert {users: set(cells) for users, cells in ns.items()} == {"500": {"5", "48"}, "1000": {"5"}}
    assert all(cell > 0 for cells in ns.values() for cell in cells.values())
    assert 100 < found["bytes_per_user"] <= 320
    assert found["hundred_worlds_wall_s"] > 0
    assert found["opportunities_per_user_day"] >= 2
    assert found["thread_scaling"]["1"] == 1.0


@pytest.fixture
def markets(tmp_path: Path, market_file: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "markets"
    folder.mkdir()
    shutil.copy(market_file, folder)
    monkeypatch.setattr(doctor, "REPOSITORY", tmp_path)
    return folder


def verdicts(gaelp: Gaelp) -> tuple[int, dict[str, dict[str, str]]]:
    ran = gaelp("doctor", "--json")
    return ran.code, {finding["name"]: finding for finding in json.loads(ran.out)["findings"]}


def test_doctor_is_content_with_frozen_markets(gaelp: Gaelp, markets: Path) -> None:
    digest = sha256_of(markets / "family_safety.toml")
    (markets / "SHA256SUMS").write_text(f"{digest}  family_safety.toml\n")
    code, found = verdicts(gaelp)
    assert code == 0
    assert found["markets/family_safety.toml"]["verdict"] == found["numba"]["verdict"] == "ok"
    assert gaelp("doctor").code == 0


def test_doctor_finds_a_market_that_is_not_the_frozen_one(gaelp: Gaelp, markets: Path) -> None:
    (markets / "SHA256SUMS").write_text(f"{'0' * 64}  family_safety.toml\n{'1' * 64}  gone.toml\n")
    code, found = verdicts(gaelp)
    assert code == 1
    for name in ("markets/family_safety.toml", "markets/gone.toml"):
        assert found[name]["verdict"] == "fail" and found[name]["remedy"]


def test_doctor_finds_a_market_that_cannot_be_read(gaelp: Gaelp, markets: Path) -> None:
    (markets / "family_safety.toml").write_text("[market]\n")
    code, found = verdicts(gaelp)
    assert code == 1 and "must be given" in found["markets/family_safety.toml"]["found"]
    assert found["markets/SHA256SUMS"]["verdict"] == "warn"


MADE_FOR_A_MARKET = (
    "family_safety.tuned.json",
    "family_safety.static_lines.json",
    f"{HELDOUT}/family_safety.json",
)


@pytest.mark.parametrize("name", MADE_FOR_A_MARKET)
def test_doctor_compares_what_was_made_for_a_market_with_the_market(
    gaelp: Gaelp, markets: Path, name: str
) -> None:
    (markets / HELDOUT).mkdir()
    sha256 = load(markets / "family_safety.toml").sha256
    (markets / name).write_text(json.dumps({"market_sha256": sha256}))
    code, found = verdicts(gaelp)
    assert code == 0 and found[f"markets/{name}"]["verdict"] == "ok"
    (markets / name).write_text(json.dumps({"market_sha256": "f" * 64}))
    code, found = verdicts(gaelp)
    finding = found[f"markets/{name}"]
    assert code == 1 and finding["verdict"] == "fail" and finding["remedy"]
    assert "f" * 12 in finding["found"] and sha256[:12] in finding["found"]
    (markets / name).write_text("not JSON")
    code, found = verdicts(gaelp)
    assert code == 1 and "must be JSON" in found[f"markets/{name}"]["found"]


def test_doctor_sees_that_the_base_of_a_market_was_edited(gaelp: Gaelp, markets: Path) -> None:
    """The derived file still has its frozen hash; what was made for it no longer belongs to it."""
    shutil.copy(REPOSITORY / "markets" / "impulse.toml", markets)
    (markets / "impulse.tuned.json").write_text(
        json.dumps({"market_sha256": load(markets / "impulse.toml").sha256})
    )
    assert verdicts(gaelp)[0] == 0
    with (markets / "family_safety.toml").open("a") as base:
        base.write("# edited\n")
    code, found = verdicts(gaelp)
    assert code == 1 and found["markets/impulse.tuned.json"]["verdict"] == "fail"


def test_doctor_misses_market_files(gaelp: Gaelp, markets: Path) -> None:
    (markets / "family_safety.toml").unlink()
    code, found = verdicts(gaelp)
    assert code == 1 and found["markets"]["remedy"]


def test_this_repository_is_in_order(gaelp: Gaelp) -> None:
    assert (REPOSITORY / "markets").is_dir()
    _, found = verdicts(gaelp)
    assert [finding for finding in found.values() if finding["verdict"] == "fail"] == []
