import numpy as np
import pytest

from leadpp.io.sheets import guard_cell, unguard_cell

LIVE = ["=1+1", "+1", "-1+cmd|' /C calc'!A0", "@SUM(A1)", "\t=1", "\r=1", "\n=1", " =1", "\ufeff=1", "＝1+1", "＠x"]  # noqa: RUF001


@pytest.mark.parametrize("text", [*LIVE, "'=1", "''=1", "' =1"])
def test_what_a_spreadsheet_would_run_is_guarded_and_given_back(text: str) -> None:
    guarded = guard_cell(text)
    assert guarded == "'" + text
    assert unguard_cell(guarded) == text


@pytest.mark.parametrize(
    "text", ["", "'", "'tis small", "Wren", "3 = 1 + 2", "F/A-18", "(=)", "'quoted' = said", "é=1"]
)
def test_other_texts_stay_as_they_are(text: str) -> None:
    assert guard_cell(text) == unguard_cell(text) == text


@pytest.mark.parametrize("text", LIVE)
def test_live_cells_of_others_are_data(text: str) -> None:
    assert unguard_cell(text) == text


def test_any_text_comes_back_and_none_is_live_in_between() -> None:
    draw, letters = np.random.default_rng(7), list("''=+-@ \t\r\n\x00\ufeffaé,;\"")
    for _ in range(20_000):
        text = "".join(draw.choice(letters, size=draw.integers(7)))
        guarded = guard_cell(text)
        assert unguard_cell(guarded) == text
        assert not guarded.lstrip(" \t\r\n\x00\ufeff").startswith(("=", "+", "-", "@"))
