"""Files are either whole or not there."""

import hashlib
from pathlib import Path

import pytest

from gaelp.core.errors import BadInput
from gaelp.core.files import replace_block, replacing, sha256_of, write_bytes_atomic, write_text_atomic


def test_a_write_replaces_the_whole_file_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "new" / "report.html"
    write_text_atomic(path, "a long first version")
    write_text_atomic(path, "Ω\r\n")
    assert path.read_bytes() == "Ω\r\n".encode()
    assert list(path.parent.iterdir()) == [path]


def test_a_failure_in_the_middle_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "snapshot.npz"
    write_bytes_atomic(path, b"old")
    with pytest.raises(ZeroDivisionError), replacing(path) as neighbour:
        neighbour.write_bytes(b"half of the n")
        assert neighbour.suffix == ".npz"
        _ = 1 / 0
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_new_file_has_the_mode_any_new_file_has(tmp_path: Path) -> None:
    write_text_atomic(tmp_path / "ours", "")
    (tmp_path / "plain").write_text("")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_the_digest_is_sha256_of_the_content(tmp_path: Path) -> None:
    write_bytes_atomic(tmp_path / "data", b"gaelp")
    assert sha256_of(tmp_path / "data") == hashlib.sha256(b"gaelp").hexdigest()


def test_a_block_of_a_text_file_is_replaced_and_the_rest_kept(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# Head\n<!-- board:begin -->\nold\n<!-- board:end -->\ntail\n")
    for _ in range(2):
        replace_block(page, "board", "| new |\n")
    assert page.read_text() == "# Head\n<!-- board:begin -->\n\n| new |\n\n<!-- board:end -->\ntail\n"


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "<!-- board:end -->\n<!-- board:begin -->\n",
        "<!-- board:begin -->\n<!-- board:begin -->\n<!-- board:end -->",
    ],
)
def test_a_block_that_is_not_there_once_is_refused(tmp_path, text):
    page = tmp_path / "page.md"
    if text is not None:
        page.write_text(text)
    with pytest.raises(BadInput, match="board:begin"):
        replace_block(page, "board", "x\n")
    assert not page.exists() or page.read_text() == text
