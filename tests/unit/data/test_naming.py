"""Names: natural order, cleaning, and folders that any file system takes."""

import itertools
import random
import unicodedata

import pytest

from leadpp.data.naming import clean_class_names, distinct_paths, natural_key, safe_folder_names
from leadpp.errors import DataError


def test_order_is_natural_and_folder_by_folder() -> None:
    ordered = ["a/2.jpg", "a/10.jpg", "a b/1.jpg", "a-b/1.jpg", "B/1.jpg", "b2/x.jpg", "b10/x.jpg", "é/1.jpg"]
    for seed in range(5):
        shuffled = random.Random(seed).sample(ordered, len(ordered))  # noqa: S311 - a test's shuffle
        assert sorted(shuffled, key=natural_key) == ordered


def test_order_of_look_alikes_is_still_one_order() -> None:
    twins = ["a1", "a01", "A1", unicodedata.normalize("NFD", "é"), "é"]
    orders = {tuple(sorted(order, key=natural_key)) for order in itertools.permutations(twins)}
    assert len(orders) == 1


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("001.Black_footed_Albatross", "Black footed Albatross"),
        ("n02085620-Chihuahua", "Chihuahua"),
        ("n02086240-Shih-Tzu", "Shih-Tzu"),
        ("707-320", "707-320"),
        ("F-16A/B", "F-16A/B"),
        ("2.5_ton", "5 ton"),
        ("001.", "001."),
        ("__", "__"),
    ],
)
def test_numbering_goes_and_underscores_become_spaces(raw: str, clean: str) -> None:
    assert clean_class_names([raw]) == (clean,)


def test_names_that_would_become_one_stay_raw() -> None:
    raw = ["001.Gull", "002.Gull", "003.Black_Tern"]
    assert clean_class_names(raw) == ("001.Gull", "002.Gull", "Black Tern")


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("F/A-18", "F-A-18"),
        ("F-16A/B", "F-16A-B"),
        ("Ram C/V Cargo Van Minivan 2012", "Ram C-V Cargo Van Minivan 2012"),
        ("Citroën 2CV", "Citroën 2CV"),
        ("..", "class"),
        (".hidden", "hidden"),
        ("a: b?", "a- b-"),
        ("ends. ", "ends"),
        ("CON", "CON-"),
        ("nul.jpg", "nul.jpg-"),
        ("console", "console"),
    ],
)
def test_folders_are_safe(name: str, folder: str) -> None:
    assert safe_folder_names([name]) == {name: folder}


def test_names_that_become_one_folder_are_told_apart() -> None:
    names = ["F/A-18", "F-A-18", "f-a-18", "Jay", "é", unicodedata.normalize("NFD", "é")]
    folders = safe_folder_names(names)
    assert folders["Jay"] == "Jay"
    assert len({unicodedata.normalize("NFC", folder).casefold() for folder in folders.values()}) == len(names)
    assert folders == safe_folder_names(reversed(names))
    assert folders["F/A-18"].startswith("F-A-18~")
    assert len({folder.casefold() for folder in safe_folder_names(["Jay", "jay"]).values()}) == 2


@pytest.mark.parametrize("letter", ["a", "é", "鳥"])
def test_long_names_are_shortened_and_stay_apart(letter: str) -> None:
    names = [letter * 200, letter * 200 + "x", letter * 199]
    folders = list(safe_folder_names(names).values())
    assert len(set(folders)) == 3
    for folder in folders:
        assert len(folder.encode()) <= 130
        assert folder.startswith(letter * 30)


def test_paths_that_cannot_be_told_apart_are_refused() -> None:
    with pytest.raises(DataError, match="'a' and 'b' would both be written to 'x'; rename one of them"):
        distinct_paths({"a": "x", "b": "x"}, tell_apart=lambda path, key: path)
