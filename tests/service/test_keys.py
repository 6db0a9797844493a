"""Keys open what they were made for, until they are revoked; their secrets are nowhere kept."""

import datetime as dt
import hashlib
import json
import stat

import pytest

from gaelp.core.errors import BadInput, UnknownName
from gaelp.service.keys import SCOPES, KeyFile

NOW = dt.datetime(2026, 3, 10, 12, tzinfo=dt.UTC)


@pytest.fixture
def file(tmp_path):
    return KeyFile(tmp_path / "keys.json")


def test_a_key_is_found_by_itself_alone(file):
    key, made = file.add("cron", ["retrain", "read"], now=NOW)
    assert file.find(key) is None  # not read yet
    file.refresh()
    assert file.find(key) == made and made.scopes == ("retrain", "read")
    for wrong in (
        key[:-1] + ("a" if key[-1] != "a" else "b"),
        key + "a",
        "",
        "gaelp_",
        f"gaelp_{made.key_id}_",
    ):
        assert file.find(wrong) is None


def test_a_key_of_another_id_does_not_open(file):
    first, _ = file.add("one", ["read"], now=NOW)
    _, second = file.add("two", ["read"], now=NOW)
    file.refresh()
    secret = first.split("_", 2)[2]
    assert file.find(f"gaelp_{second.key_id}_{secret}") is None


def test_a_revoked_key_does_not_open(file):
    key, made = file.add("cron", ["retrain"], now=NOW)
    file.refresh()
    file.revoke(made.key_id, now=NOW)
    file.refresh()
    assert file.find(key) is None
    assert file.keys()[0].revoked == "2026-03-10T12:00:00+00:00"


def test_the_file_holds_hashes_and_is_its_owners_alone(file):
    key, made = file.add("cron", SCOPES, now=NOW)
    secret = key.split("_", 2)[2]
    text = file.path.read_text()
    assert secret not in text and made.sha256 == hashlib.sha256(secret.encode()).hexdigest()
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    assert [each["name"] for each in json.loads(text)["keys"]] == ["cron"]


@pytest.mark.parametrize(
    ("name", "scopes", "kind"),
    [
        ("", ["read"], BadInput),
        ("a\nb", ["read"], BadInput),
        ("cron", [], BadInput),
        ("cron", ["write"], UnknownName),
    ],
)
def test_a_key_without_name_or_scope_is_refused(file, name, scopes, kind):
    with pytest.raises(kind):
        file.add(name, scopes, now=NOW)
    assert not file.path.exists()


def test_a_file_that_is_none_of_keys_is_refused(file):
    file.path.write_text("{}")
    with pytest.raises(BadInput, match="gaelp serve keys add"):
        file.refresh()
