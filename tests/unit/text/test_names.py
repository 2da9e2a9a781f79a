import unicodedata
from pathlib import Path
from typing import Literal

import pytest

from leadpp.errors import TextError
from leadpp.text.names import check_distinct, closest, match_names, name_key, read_names, without_numbering


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Black_footed_Albatross", "Black-footed albatross"),
        ("F/A-18", "FA-18"),
        ("F-16A/B", "F-16AB"),
        ("Ram C/V Cargo Van Minivan 2012", "Ram C-V Cargo Van Minivan 2012"),
        ("Clark's Nutcracker", "clarks_nutcracker"),
        ("Citroën", unicodedata.normalize("NFD", "CITROEN")),
        ("Crème brûlée", unicodedata.normalize("NFD", "Crème brûlée")),
        ("Łódź", "lodz"),
        ("Sørensen", "sorensen"),
        ("Straße", "STRASSE"),
        ("Ёлка", "елка"),
    ],
)
def test_spellings_of_one_name_have_one_key(one: str, other: str) -> None:
    assert name_key(one) == name_key(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [("747-100", "747-200"), ("か", "が"), ("की", "का"), ("Audi S4 2007", "Audi S4 2012"), ("鶴", "鷺"), ("A ƛ", "A")],
)
def test_different_names_have_different_keys(one: str, other: str) -> None:
    assert name_key(one) != name_key(other)


@pytest.mark.parametrize(
    ("name", "bare"),
    [
        ("001.Black_footed_Albatross", "Black_footed_Albatross"),
        ("17_apple", "apple"),
        ("3) Éclair", "Éclair"),
        ("12. Pear", "Pear"),
        ("n02085620-Chihuahua", "Chihuahua"),
        ("n02085620_Chihuahua", "Chihuahua"),
    ],
)
def test_a_numbering_goes(name: str, bare: str) -> None:
    assert without_numbering(name) == bare


@pytest.mark.parametrize(
    "name",
    [
        "747-100",
        "F-16A/B",
        "2012 Audi A4",
        "Audi A4 2012",
        "707-320",
        "4-door sedan",
        "001.707",
        "7up",
        "1900_1",
        "n12",
    ],
)
def test_a_number_that_belongs_to_the_name_stays(name: str) -> None:
    assert without_numbering(name) == name


def test_names_find_their_classes_in_the_order_of_the_classes() -> None:
    classes = ["001.Black_footed_Albatross", "n02085620-Chihuahua", "F-16A/B", "Ram C/V Cargo Van Minivan 2012"]
    names = ["Ram C-V Cargo Van Minivan 2012", "chihuahua", "Black footed Albatross", "F-16AB"]
    assert match_names(names, classes) == (2, 1, 3, 0)


def test_numbers_in_front_on_both_sides_need_not_agree() -> None:
    assert match_names(["2.Pear", "1.Apple"], ["007.apple", "009.pear"]) == (1, 0)


def test_numbers_count_where_names_differ_in_nothing_else() -> None:
    assert match_names(["3_Series", "1_Series"], ["1 Series", "3 Series"]) == (1, 0)


def test_exact_names_both_sides_of_a_mismatch_with_the_closest() -> None:
    with pytest.raises(TextError) as caught:
        match_names(["Granny Smith", "Golden Delicous"], ["Granny-Smith", "Golden-Delicious", "Avocado"])
    message = str(caught.value)
    assert "2 of 3 classes have no text: 'Golden-Delicious' (closest: 'Golden Delicous'" in message
    assert "'Avocado' (nothing close)" in message
    assert "1 of 2 names have no class: 'Golden Delicous' (closest: 'Golden-Delicious')" in message


def test_a_long_list_of_strangers_is_shortened() -> None:
    with pytest.raises(TextError, match="and 4 more"):
        match_names([], [f"class {letter}" for letter in "abcdefghi"])


def test_hundreds_of_strangers_are_one_line() -> None:
    names, classes = ([f"{word} of the woods {number}" for number in range(500)] for word in ("Kite", "Tern"))
    with pytest.raises(
        TextError, match=r"500 of 500 classes have no text: .* and 495 more; 500 of 500 names"
    ) as caught:
        match_names(names, classes)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 2000


def test_subset_drops_names_without_a_class_but_no_class() -> None:
    assert match_names(["Kiwi", "Pear", "Apple"], ["apple", "kiwi"], mode="subset") == (2, 0)
    with pytest.raises(TextError, match="1 of 2 classes have no text: 'plum'"):
        match_names(["Kiwi", "Pear"], ["kiwi", "plum"], mode="subset")


@pytest.mark.parametrize("mode", ["exact", "subset"])
@pytest.mark.parametrize(
    ("names", "classes", "first", "second"),
    [
        (["F/A-18", "FA 18"], ["FA-18"], "'F/A-18'", "'FA 18'"),
        (["FA-18"], ["F/A-18", "FA-18"], "'F/A-18'", "'FA-18'"),
        (["Apple", "01_Apple"], ["apple"], "'Apple'", "'01_Apple'"),
        (["Apple"], ["1.Apple", "2.Apple"], "'1.Apple'", "'2.Apple'"),
    ],
)
def test_collisions_name_both(
    mode: Literal["exact", "subset"], names: list[str], classes: list[str], first: str, second: str
) -> None:
    with pytest.raises(TextError) as caught:
        match_names(names, classes, mode=mode)
    assert first in str(caught.value)
    assert second in str(caught.value)


def test_a_name_without_letters_is_refused() -> None:
    with pytest.raises(TextError, match="'--' has neither letters nor digits"):
        check_distinct(["Apple", "--"], what="names")


def test_closest_is_best_first_and_may_be_empty() -> None:
    assert closest("Herring gul", ["Heron", "Herring_Gull", "Ring billed Gull"])[0] == "Herring_Gull"
    assert closest("zzz", ["Heron"]) == []


def test_a_list_of_names_is_read_line_by_line(tmp_path: Path) -> None:
    path = tmp_path / "names.txt"
    path.write_bytes("\ufeffCrème brûlée\r\n\r\n  Pear, red \n\tF/A-18".encode())
    assert read_names(path) == ("Crème brûlée", "Pear, red", "F/A-18")
    path.write_text("Pear\tred; sweet\r=Apple\r'Quince'\r")
    assert read_names(path) == ("Pear\tred; sweet", "=Apple", "'Quince'")
    path.write_text("Crème brûlée\nPear, red\n", encoding="utf-16")
    assert read_names(path) == ("Crème brûlée", "Pear, red")


def test_ten_megabytes_of_names_are_too_many_and_told_at_once(tmp_path: Path) -> None:
    path = tmp_path / "names.txt"
    path.write_text("".join(f"Kind of bird, number {number}\n" for number in range(370_000)))
    assert path.stat().st_size > 10_000_000
    with pytest.raises(TextError, match="expected at most 100,000 class names, found 370,000 lines"):
        read_names(path)


def test_a_file_larger_than_any_words_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "names.txt"
    with path.open("wb") as stream:
        stream.truncate(3 << 30)
    with pytest.raises(TextError, match=r"expected a text file, found 3\.2 GB"):
        read_names(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "found none"),
        (b"\n \n", "found none"),
        (b"Pear\nCr\xe8me", "expected UTF-8 text, found byte 0xe8 at 7"),
        (b"Pear\nApple\nPEAR\n", "'Pear' and 'PEAR' are the same"),
        (b"Pear\nApp\x1ble\n", r"names: 'App\\x1ble' holds '\\x1b', a control character"),
        ("Pear\nApp\u2028le\n".encode(), r"holds '\\u2028', a control character or line break"),
        (b"Pear\x00\nApple\n", "expected text, found zero bytes"),
        ("Pear\n".encode("utf-16-be"), "expected text, found zero bytes"),
        (b"\x89PNG\r\n\x1a\n\x00\x00\x00", "expected text, found a picture"),
        (b"class name,description\nPear,Sweet.\n", "found descriptions; give them with --descriptions"),
        (b"id;Class_Name;Description\n1;Pear;Sweet.\n", "found descriptions; give them with --descriptions"),
        (b'Pear,"' + b"A sweet fruit, " * 20 + b'"\n', "has 307 letters, expected at most 200; give descriptions with"),
    ],
)
def test_a_bad_list_of_names_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "names.txt"
    path.write_bytes(content)
    with pytest.raises(TextError, match=message) as caught:
        read_names(path)
    assert str(path) in str(caught.value)


def test_json_is_no_list_of_names(tmp_path: Path) -> None:
    path = tmp_path / "texts.json"
    path.write_text('{"Pear": "Sweet."}')
    with pytest.raises(TextError, match="found descriptions; give them with --descriptions"):
        read_names(path)


def test_a_missing_list_and_a_folder_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(TextError, match="No such file"):
        read_names(tmp_path / "absent.txt")
    with pytest.raises(TextError, match="Is a directory"):
        read_names(tmp_path)
