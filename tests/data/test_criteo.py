"""Criteo's format and coded tables are read as they are meant, and bad files are named."""

import csv
import gzip

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gaelp.core.errors import BadInput, UnknownName
from gaelp.data.criteo import CATEGORIES, INTEGERS, LABEL, read_criteo
from gaelp.data.tables import read_coded

ROWS = [
    ["0", "1", "-2", "260.0", "", *map(str, range(9)), *(f"{k:08x}" for k in range(26))],
    ["1", "", "0", "5", "17.0", *map(str, range(9)), *(f"{k:08x}" for k in range(25)), ""],
]


def write(path, rows, separator="\t"):
    text = "".join(separator.join(row) + "\n" for row in rows)
    with gzip.open(path, "wt") if path.suffix == ".gz" else open(path, "w") as file:
        file.write(text)
    return path


def check(cells):
    assert cells[LABEL].flags().tolist() == [False, True]
    np.testing.assert_equal(cells["I1"].numbers(), [1, np.nan])
    np.testing.assert_equal(cells["I2"].numbers(), [-2, 0])
    np.testing.assert_equal(cells["I3"].numbers(), [260, 5])
    np.testing.assert_equal(cells["I4"].numbers(), [np.nan, 17])
    last = cells["C26"]
    assert [last.words[code] for code in last.codes] == ["00000019", ""]


@pytest.mark.parametrize("name", ["day_0.gz", "train.txt", "sample.tsv.gz"])
def test_the_published_form_has_no_header_and_is_mostly_gzipped(tmp_path, name):
    cells = read_criteo(write(tmp_path / name, ROWS))
    check(cells)
    assert list(cells) == [LABEL, *INTEGERS, *CATEGORIES]


def test_a_header_and_commas_change_nothing(tmp_path):
    head = ["Id", LABEL, *INTEGERS, *CATEGORIES]
    rows = [head, *([str(i), *row] for i, row in enumerate(ROWS))]
    cells = read_criteo(write(tmp_path / "train.csv.gz", rows, ","))
    check(cells)
    assert "Id" not in cells


def test_the_file_to_predict_has_no_labels(tmp_path):
    cells = read_criteo(write(tmp_path / "test.txt", [row[1:] for row in ROWS]))
    assert LABEL not in cells and cells["I3"].numbers().tolist() == [260, 5]


def test_bad_files_are_named(tmp_path):
    with pytest.raises(BadInput, match="must be a file that exists"):
        read_criteo(tmp_path / "none.gz")
    with pytest.raises(BadInput, match=r"must have 40 cells a line.*not 12"):
        read_criteo(write(tmp_path / "narrow", [row[:12] for row in ROWS]))
    with pytest.raises(BadInput, match=r"could not be read.*41"):
        read_criteo(write(tmp_path / "ragged", [ROWS[0], [*ROWS[1], "x"]]))
    with pytest.raises(BadInput, match="at least one row"):
        read_criteo(write(tmp_path / "empty", []))
    whole = write(tmp_path / "whole.gz", ROWS * 50).read_bytes()
    (tmp_path / "cut.gz").write_bytes(whole[:-20])
    with pytest.raises(BadInput, match="could not be read"):
        read_criteo(tmp_path / "cut.gz")
    (tmp_path / "not.gz").write_bytes(b"plain text")
    with pytest.raises(BadInput, match="could not be read"):
        read_criteo(tmp_path / "not.gz")
    words = read_criteo(write(tmp_path / "words", [ROWS[0], ["1", "seven", *ROWS[1][2:]]]))
    with pytest.raises(BadInput, match="`I1 in row 2` was 'seven'; must be a number"):
        words["I1"].numbers()


def test_the_shared_sample_is_read_as_a_plain_reader_reads_it(shared_data):
    file = shared_data / "criteo_display" / "train_first1500.csv.gz"
    cells = read_criteo(file)
    with gzip.open(file, "rt", newline="") as text:
        plain = list(csv.DictReader(text))
    assert len(plain) == len(cells[LABEL]) == 1500
    for name in (*INTEGERS, LABEL):
        expected = [float(row[name]) if row[name] else np.nan for row in plain]
        np.testing.assert_equal(cells[name].numbers(), expected)
    for name in CATEGORIES:
        assert [cells[name].words[code] for code in cells[name].codes] == [row[name] for row in plain]


def test_a_parquet_table_reads_as_its_text_form(tmp_path):
    (tmp_path / "a.csv").write_text('who, n,when\n" x",1,2025-03-03 10:00:00\nx ,,2025-03-04 11:30:00\n')
    table = pa.table(
        {
            "who": ["x", "x"],
            "n": pa.array([1.0, None]),
            "when": pa.array([1_740_996_000, 1_741_087_800], pa.timestamp("s")),
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    for name in ("a.csv", "a.parquet"):
        cells = read_coded(tmp_path / name)
        assert cells["who"].words == ("x",)
        np.testing.assert_equal(cells["n"].numbers(), [1, np.nan])
        np.testing.assert_allclose(cells["when"].moments() * 3600, [1_740_996_000, 1_741_087_800])


def test_a_cell_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "a.csv").write_text("y,t,n\n0,5,1\n2,x,\n1,,-3\n")
    cells = read_coded(tmp_path / "a.csv")
    with pytest.raises(BadInput, match="`y in row 2` was '2'; must be 0 or 1"):
        cells["y"].flags()
    with pytest.raises(BadInput, match="`t in row 2` was 'x'; must be a number"):
        cells["t"].moments()
    with pytest.raises(BadInput, match="`n in row 3` was '-3'; must be a number of at least 0"):
        cells["n"].numbers(0.0)
    with pytest.raises(BadInput, match="`n in row 2` was ''; must be a number"):
        cells["n"].numbers(empty=False)
    (tmp_path / "b.csv").write_text("t\n2025-01-01\n20250102\n")
    with pytest.raises(BadInput, match="`t in row 2` was '20250102'; must be a time like"):
        read_coded(tmp_path / "b.csv")["t"].moments()
    with pytest.raises(UnknownName, match="Did you mean 'label'"):
        (tmp_path / "c.csv").write_text("label\n1\n")
        read_coded(tmp_path / "c.csv", ["labl"])
    (tmp_path / "d.csv").write_text("label\n")
    with pytest.raises(BadInput, match="at least one row"):
        read_coded(tmp_path / "d.csv")
