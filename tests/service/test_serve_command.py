"""`gaelp serve keys`: keys are made, shown without their secrets, and ended."""

import json

import pytest
from typer.testing import CliRunner

from gaelp.cli.serve import serve_app
from gaelp.core.errors import BadInput, UnknownName
from gaelp.service.keys import KeyFile


@pytest.fixture
def serve(tmp_path):
    def call(*arguments):
        given = [*arguments, "--keys", str(tmp_path / "keys.json")]
        result = CliRunner().invoke(serve_app, ["keys", *given], catch_exceptions=False)
        assert result.exit_code == 0
        return result.stdout

    return call


def test_a_key_is_made_listed_and_revoked(serve, tmp_path):
    assert "no keys yet" in serve("list")
    key = serve("add", "cron", "--scope", "retrain", "--scope", "read").strip()
    other = json.loads(serve("add", "shop", "--scope", "events", "--json"))
    shown = json.loads(serve("list", "--json"))["keys"]
    assert [(each["name"], each["scopes"], each["revoked"]) for each in shown] == [
        ("cron", ["retrain", "read"], None),
        ("shop", ["events"], None),
    ]
    secrets = [each.split("_", 2)[2] for each in (key, other["key"])]
    assert not any(secret in serve("list") + json.dumps(shown) for secret in secrets)
    assert "is revoked" in serve("revoke", shown[0]["key_id"])
    file = KeyFile(tmp_path / "keys.json")
    file.refresh()
    assert file.find(key) is None and file.find(other["key"]).name == "shop"


def test_a_wrong_scope_or_id_is_refused_by_name(serve):
    with pytest.raises(UnknownName, match="retrain"):
        serve("add", "cron", "--scope", "retrian")
    with pytest.raises(BadInput, match="scopes"):
        serve("add", "cron")
    with pytest.raises(UnknownName, match="key"):
        serve("revoke", "00000000")
