"""Settings: file, environment, command line; wrong ones are refused by name, secrets never shown."""

import pytest

from gaelp.core.errors import BadInput, UnknownName
from gaelp.service.settings import Settings

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.fixture(autouse=True)
def no_secrets(monkeypatch):
    for name in ("GAELP_WEBHOOK_SECRETS", "GAELP_WEBHOOK_SECRETS_FILE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "gaelp.toml"

    def write(text):
        path.write_text(text)
        return path

    return write


def test_what_is_typed_wins_over_the_file(config):
    path = config('[service]\nport = 9000\nhost = "::1"\n[retraining]\nrule = "compatible"\n')
    found = Settings.read(path, port=9001, host=None)
    assert (found.host, found.port, found.config) == ("::1", 9001, path)


def test_secrets_come_from_the_environment_or_a_file_and_are_never_shown(monkeypatch, tmp_path):
    monkeypatch.setenv("GAELP_WEBHOOK_SECRETS", f"{SECRET} {SECRET[6:]}")
    found = Settings.read()
    assert len(set(found.secrets)) == 1 and len(found.secrets) == 2
    assert SECRET[6:] not in repr(found)
    file = tmp_path / "secrets"
    file.write_text(f"{SECRET}\n")
    monkeypatch.setenv("GAELP_WEBHOOK_SECRETS_FILE", str(file))
    assert len(Settings.read().secrets) == 1
    file.unlink()
    with pytest.raises(BadInput, match="can be read"):
        Settings.read()
    monkeypatch.delenv("GAELP_WEBHOOK_SECRETS_FILE")
    monkeypatch.setenv("GAELP_WEBHOOK_SECRETS", "tooshortsecret")
    with pytest.raises(BadInput) as caught:
        Settings.read()
    assert "tooshort" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "kind", "told"),
    [
        ("[service]\nprot = 1\n", UnknownName, "'port'"),
        ("[serve]\n", UnknownName, "'service'"),
        ("[retrainig]\n", UnknownName, "'retraining'"),
        ("[service]\nport = 70000\n", BadInput, "port"),
        ("[service]\npoll_s = 0\n", BadInput, "poll_s"),
        ("service = 1\n", BadInput, "service"),
        ("port 1\n", BadInput, "TOML"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(config, text, kind, told):
    with pytest.raises(kind, match=told):
        Settings.read(config(text))


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(BadInput, match="can be read"):
        Settings.read(tmp_path / "none.toml")
