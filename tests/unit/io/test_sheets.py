"""CSV for spreadsheets: read back as written, and never live."""

import csv
import io

import pytest

from leadpp.io.sheets import csv_text


def test_cells_come_back_as_they_were() -> None:
    rows = [['a,b\n"c"', 0.25, True, None, 7], ["é", -0.5, False, "", -3]]
    text = csv_text(["x", "y", "z", "u", "v"], rows)
    assert list(csv.reader(io.StringIO(text)))[1:] == [
        ["a,b\n\"c\"", "0.2500", "yes", "", "7"], ["é", "-0.5000", "no", "", "-3"],
    ]  # fmt: skip


@pytest.mark.parametrize("live", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1"])
def test_no_word_is_a_formula(live: str) -> None:
    (_, (cell,)) = csv.reader(io.StringIO(csv_text(["x"], [[live]]), newline=""))
    assert cell == f"'{live}".replace("\r", "\n")
