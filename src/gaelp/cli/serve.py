"""`gaelp serve`: the HTTP service, and the keys of its callers."""

import datetime as dt
from pathlib import Path
from typing import Annotated, Any

import typer

from gaelp.cli.console import JsonOption, out, print_json

serve_app = typer.Typer(
    name="serve",
    invoke_without_command=True,
    no_args_is_help=False,
    help="Serve predictions, take purchases in, and retrain: the HTTP service.",
)
keys_app = typer.Typer(name="keys", no_args_is_help=False, help="Who may call, and what for.")
serve_app.add_typer(keys_app, name="keys")

ConfigOption = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="TOML with tables service and retraining.")
]
KeysOption = Annotated[
    Path | None,
    typer.Option("--keys", metavar="FILE", help="Of API keys.", show_default="service_keys.json"),
]


@serve_app.callback()
def serve_command(
    context: typer.Context,
    host: Annotated[str | None, typer.Option(help="Where to listen.", show_default="127.0.0.1")] = None,
    port: Annotated[int | None, typer.Option(help="0: any that is free.", show_default="8080")] = None,
    database: Annotated[
        str | None, typer.Option(metavar="URL", show_default="$DATABASE_URL, else journeys.db")
    ] = None,
    models: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Registry of models.", show_default="models")
    ] = None,
    keys: KeysOption = None,
    config: ConfigOption = None,
) -> None:
    """Serve predictions, take purchases in, and retrain, until stopped by SIGTERM or Ctrl-C."""
    if context.invoked_subcommand is not None:
        return
    from gaelp.core.errors import BadInput
    from gaelp.service.running import run
    from gaelp.service.settings import Settings

    try:
        run(Settings.read(config, host=host, port=port, database=database, models=models, keys=keys))
    except BadInput as error:
        if error.name != "database" or database is None:
            raise
        raise BadInput("--database", error.value, error.allowed, error.remedy) from None


@keys_app.command("add")
def add_command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Who will call, such as cron.")],
    scope: Annotated[
        list[str] | None, typer.Option("--scope", help="predict, retrain, read or events; may be repeated.")
    ] = None,
    keys: KeysOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a key. It is printed once, and kept nowhere."""
    text, made = _file(keys, config).add(name, scope or (), now=dt.datetime.now(dt.UTC))
    if as_json:
        print_json({"key": text, **_told(made)})
    else:
        print(text)


@keys_app.command("list")
def list_command(keys: KeysOption = None, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """All keys, without their secrets."""
    found = [_told(each) for each in _file(keys, config).keys()]
    if as_json:
        print_json({"keys": found})
        return
    if not found:
        print("no keys yet: gaelp serve keys add NAME --scope SCOPE")
        return
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for name in found[0]:
        table.add_column(name.replace("_", " "))
    for each in found:
        table.add_row(*(" ".join(cell) if isinstance(cell, tuple) else cell or "" for cell in each.values()))
    out().print(table)


@keys_app.command("revoke")
def revoke_command(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="As `gaelp serve keys list` shows it.")],
    keys: KeysOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """End a key; a running service refuses it within a second."""
    ended = _told(_file(keys, config).revoke(key_id, now=dt.datetime.now(dt.UTC)))
    if as_json:
        print_json(ended)
    else:
        print(f"{ended['name']} ({key_id}) is revoked")


def _file(keys: Path | None, config: Path | None) -> Any:
    from gaelp.service.keys import KeyFile
    from gaelp.service.settings import Settings

    return KeyFile(Settings.read(config, keys=keys).keys)


def _told(key: Any) -> dict[str, Any]:
    return {name: getattr(key, name) for name in ("key_id", "name", "scopes", "made", "revoked")}
