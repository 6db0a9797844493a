"""What the documents say can be typed exists, what they link to is there, and what is generated is fresh."""

import importlib.util
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer

from gaelp.cli.main import app
from gaelp.market.file import load
from gaelp.worlds.families import FAMILIES

REPOSITORY = Path(__file__).parents[2]
README = REPOSITORY / "README.md"
PAGES = sorted(
    [
        *(
            REPOSITORY / name
            for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "examples/README.md")
        ),
        *(REPOSITORY / "docs").rglob("*.md"),
    ]
)
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)", re.DOTALL)
LINK = re.compile(r"\]\(([^)#\s]+)[^)]*\)")
GAELP = ("gaelp", ".venv/bin/gaelp")
SEPARATORS = {"|", "||", "&&", ";", "&"}


def fenced(text: str) -> list[str]:
    """Lines of the fenced blocks that are marked as a shell's, without prompts."""
    blocks = [body for mark, body in FENCE.findall(text) if mark in ("bash", "console")]
    return [line.removeprefix("$ ") for body in blocks for line in body.splitlines()]


def inline(text: str) -> list[str]:
    """Spans of code outside fenced blocks; in a table `\\|` is a pipe."""
    spans = SPAN.findall(FENCE.sub("", text))
    return [" ".join(span.split()).replace(r"\|", "|") for _, span in spans]


def commands(lines: list[str]) -> Iterator[list[str]]:
    """Words of each simple command, comments and pipes taken apart; what is no shell text is left out."""
    for line in lines:
        lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;")
        lexer.whitespace_split = True
        try:
            words = list(lexer)
        except ValueError:  # an apostrophe: prose or Python
            continue
        command: list[str] = []
        for word in [*words, ";"]:
            if word in SEPARATORS:
                if command:
                    yield command
                command = []
            else:
                command.append(word)


def complaint(arguments: list[str], command: Any) -> str:
    """What the command tree does not know among the words after `gaelp`; empty if all is well.

    The tree is read, nothing is run and no default is looked up.
    """
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        if word.startswith("-"):
            flag, equals, _ = word.partition("=")
            options = [p for p in command.params if flag in (*p.opts, *p.secondary_opts)]
            if flag in ("-h", "--help"):
                continue
            if not options:
                return f"{command.name} has no {flag}"
            if not options[0].is_flag and not equals:
                if not rest:
                    return f"{command.name} {flag} wants a value"
                rest.pop(0)
        elif hasattr(command, "commands"):
            if word not in command.commands:
                return f"{command.name} has no {word}"
            command = command.commands[word]
        elif not any(p.param_type_name == "argument" for p in command.params):
            return f"{command.name} takes no {word}"
    return ""


def leaves(command: Any, names: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every command that does something, as words."""
    for name, child in command.commands.items():
        if hasattr(child, "commands"):
            yield from leaves(child, (*names, name))
        else:
            yield (*names, name)


@pytest.fixture(scope="module")
def root() -> Any:
    return typer.main.get_command(app)


def of_page(page: Path) -> list[list[str]]:
    text = page.read_text(encoding="utf-8")
    return list(commands(fenced(text) + inline(text)))


@pytest.fixture(scope="module", params=PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def page(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


def test_the_readme_has_commands_to_type() -> None:
    typed = list(commands(fenced(README.read_text(encoding="utf-8"))))
    assert sum(words[0] == "gaelp" for words in typed) >= 5
    assert ["make", "demo"] in typed


def test_every_gaelp_command_in_the_documents_exists(page: Path, root: Any) -> None:
    typed = [words for words in of_page(page) if words[0] in GAELP]
    wrong = {" ".join(words): found for words in typed if (found := complaint(words[1:], root))}
    assert not wrong


def test_every_command_is_shown_in_the_readme_or_the_documents(root: Any) -> None:
    typed = [words[1:] for path in PAGES for words in of_page(path) if words[0] in GAELP]
    shown = {command for command in leaves(root) if any(tuple(w[: len(command)]) == command for w in typed)}
    assert shown == set(leaves(root))


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("simulat", "gaelp has no simulat"),
        ("simulate --polices pacing", "simulate has no --polices"),
        ("simulate --days", "simulate --days wants a value"),
        ("journeys tell 17", "journeys has no tell"),
        ("doctor markets", "doctor takes no markets"),
        ("journeys show 1:17 --run runs/look --json", ""),
        ("evaluate pacing fixed --worlds=4", ""),
        ("--help", ""),
    ],
)
def test_a_wrong_command_would_be_found(typed: str, found: str, root: Any) -> None:
    assert complaint(typed.split(), root) == found


def test_every_make_target_in_the_documents_exists(page: Path) -> None:
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    asked = [word for words in of_page(page) if words[0] == "make" for word in words[1:] if "=" not in word]
    assert set(asked) <= targets


def test_every_script_and_test_in_the_documents_exists(page: Path) -> None:
    for words in of_page(page):
        program = words[0].rpartition("/")[2]
        if program not in ("python", "pytest"):
            continue
        paths = [word for word in words[1:] if re.fullmatch(r"[\w-]+(/[\w.-]+)+", word)]
        missing = [
            path for path in paths if not (REPOSITORY / path).exists() and path.split("/")[0] != "runs"
        ]
        assert not missing, " ".join(words)
        if program == "pytest" and "-k" in words:
            tests = [p for path in paths for p in [REPOSITORY / path, *(REPOSITORY / path).rglob("*.py")]]
            names = " ".join(
                name
                for path in tests
                if path.is_file()
                for name in re.findall(r"^def (test_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
            )
            asked = set(words[words.index("-k") + 1].split()) - {"or", "and", "not"}
            assert all(name in names for name in asked), " ".join(words)


def test_every_link_in_the_documents_leads_somewhere(page: Path) -> None:
    links = [link for link in LINK.findall(page.read_text(encoding="utf-8")) if "://" not in link]
    assert not [link for link in links if not (page.parent / link).exists()]


@pytest.fixture(scope="module")
def build_market() -> ModuleType:
    script = REPOSITORY / "docs" / "reference" / "build_market.py"
    spec = importlib.util.spec_from_file_location("build_market", script)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_of_the_market_is_what_its_script_writes(
    build_market: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["build_market.py", "--check"])
    assert build_market.main() == 0, "run python docs/reference/build_market.py"
    monkeypatch.setattr(build_market, "HEAD", "# Another page\n")
    assert build_market.main() == 1


def test_the_page_of_families_tells_of_each() -> None:
    page = (REPOSITORY / "docs" / "reference" / "families.md").read_text()
    for each in FAMILIES.values():
        assert f"| `{each.name}` | {each.about} | {'yes' if each.outside_spread else ''} |" in page


@pytest.mark.parametrize("record", ["PERSON", "MEMORY", "DECISION", "EVENT"])
def test_every_field_of_a_record_is_told(
    build_market: ModuleType, monkeypatch: pytest.MonkeyPatch, record: str
) -> None:
    text = build_market.page(load(REPOSITORY / "markets" / "family_safety.toml"))
    about, dtype, told = build_market.RECORDS[record]
    assert all(f"| `{field}` |" in text for field in dtype.names)
    untold = {field: cell for field, cell in told.items() if field != dtype.names[1]}
    monkeypatch.setitem(build_market.RECORDS, record, (about, dtype, untold))
    with pytest.raises(ValueError, match=dtype.names[1]):
        build_market.record(record)
