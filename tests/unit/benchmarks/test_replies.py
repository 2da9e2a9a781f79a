from pathlib import Path

from benchmarks.replies import measure
from leadpp.text.descriptions import write_descriptions
from tests.unit.text.reply_samples import SEEN, UNSEEN


def test_good_and_bad_texts_are_told_apart_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "texts.csv"
    write_descriptions(path, {name: (text,) for name, text in (SEEN | UNSEEN).items()})
    row, lines = measure(path, min_words=50, max_words=85)
    assert row.startswith(f"| texts.csv | {len(SEEN)} of {len(SEEN) + len(UNSEEN)} | visible {len(UNSEEN)} | 0.0 / ")
    assert [line[2:].partition(":")[0] for line in lines] == list(UNSEEN)
