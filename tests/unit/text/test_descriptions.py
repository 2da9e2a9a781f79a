import csv
import json
from pathlib import Path

import numpy as np
import pytest

from leadpp.errors import ArtifactError, TextError
from leadpp.text.descriptions import read_descriptions, write_descriptions


def _file(folder: Path, content: str | bytes, name: str = "texts.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize(
    "content",
    [
        'class name,description\nWren,"Small, brown."\nAuk,Black and white.\n',
        'class name,description,\nWren,"Small, brown.",\nAuk,Black and white.,\n',
        '\ufeffClass_Name,Description\r\nWren,"Small, brown."\r\n\r\nAuk,Black and white.\r\n',
        'Wren,"Small, brown."\nAuk,Black and white.',
        'Wren,"Small, brown.",\nAuk,Black and white.,\n',
        'description,family,class\n"Small, brown.",Troglodytidae,Wren\nBlack and white.,Alcidae,Auk\n',
        'id,name,text\n7,Wren,"Small, brown."\n3, Auk , Black and white. \n',
        "class name;description\nWren;Small, brown.\nAuk;Black and white.\n",
        '\n"Wren";Small, brown.\nAuk;Black and white.\n',
        "class name\tdescription\nWren\tSmall, brown.\nAuk\tBlack and white.\n",
    ],
    ids=[
        "plain",
        "empty third column",
        "bom and crlf",
        "no header",
        "no header, third column",
        "order",
        "ids",
        "semicolons",
        "semicolons alone",
        "tabs",
    ],
)
def test_the_forms_of_csv_say_the_same(tmp_path: Path, content: str | bytes) -> None:
    assert list(read_descriptions(_file(tmp_path, content)).items()) == [
        ("Wren", ("Small, brown.",)),
        ("Auk", ("Black and white.",)),
    ]


def test_texts_in_a_column_without_a_title_are_left_out_and_told_of(tmp_path: Path) -> None:
    path = _file(tmp_path, 'class name,description,\nWren,"Small, brown.",\nAuk,Black.,"Black, white."\n')
    told: list[str] = []
    assert read_descriptions(path, notify=told.append) == {"Wren": ("Small, brown.",), "Auk": ("Black.",)}
    assert told == [f"{path}: 1 texts in a column without a title are left out, first of 'Auk'"]
    assert read_descriptions(path) == {"Wren": ("Small, brown.",), "Auk": ("Black.",)}


def test_a_table_without_a_header_is_told_of(tmp_path: Path) -> None:
    path = _file(tmp_path, 'Vogel;Beschreibung\nWren;"Small, brown."\n')
    told: list[str] = []
    assert list(read_descriptions(path, notify=told.append)) == ["Vogel", "Wren"]
    assert told == [f"{path}: the first line is no header (class name,description), so 'Vogel' is taken for a class"]


@pytest.mark.parametrize(
    ("content", "one", "other"),
    [
        ("Kite, Red;Red and forked.\nWren, Small;Brown and small.\n", "commas", "semicolons"),
        ("Wren;Small, brown.\nAuk;Black, white.\n", "semicolons", "commas"),
        ("Wren\tSmall; brown.\n", "tabs", "semicolons"),
    ],
)
def test_a_table_that_could_be_divided_in_two_ways_is_refused(
    tmp_path: Path, content: str, one: str, other: str
) -> None:
    with pytest.raises(TextError, match=rf"divided by {one} or by {other}\? .* put a header"):
        read_descriptions(_file(tmp_path, content))
    delimiter = {"commas": ",", "semicolons": ";", "tabs": "\t"}[one]
    assert read_descriptions(_file(tmp_path, f"class name{delimiter}description\n{content}"))


def test_delimiters_inside_quotes_divide_nothing(tmp_path: Path) -> None:
    path = _file(tmp_path, 'Wren,"Small; brown"\nAuk,"Black; ""white"""\n')
    assert read_descriptions(path) == {"Wren": ("Small; brown",), "Auk": ('Black; "white"',)}


@pytest.mark.parametrize("letters", [100_000, 200_000, 1_000_000])
def test_long_descriptions_are_read_whole(tmp_path: Path, letters: int) -> None:
    limit = csv.field_size_limit()
    text = ("A small bird, " * letters)[:letters].strip()
    path = tmp_path / "texts.csv"
    write_descriptions(path, {"Wren": (text,), "Auk": ("Black.",)})
    assert read_descriptions(path) == {"Wren": (text,), "Auk": ("Black.",)}
    assert csv.field_size_limit() == limit


def test_formulas_of_others_are_words_and_ours_are_guarded(tmp_path: Path) -> None:
    path = _file(tmp_path, "class name,description\n=Wren,+Small\n@Auk,-black\n")
    found = read_descriptions(path)
    assert found == {"=Wren": ("+Small",), "@Auk": ("-black",)}
    write_descriptions(path, found)
    assert path.read_text() == "class name,description\n'=Wren,'+Small\n'@Auk,'-black\n"
    assert read_descriptions(path) == found


NASTY = [*"\"',;\t\n=+-@ aZ0.é中🐦\u200b\ufeff\u2028\x0b\x85|\\", '""', "sep=", "'="]


def test_any_words_that_are_written_are_read_back(tmp_path: Path) -> None:
    draw = np.random.default_rng(9)

    def words(pieces: int) -> str:
        return "".join(draw.choice(NASTY) for _ in range(draw.integers(1, pieces))).strip()

    path = tmp_path / "texts.csv"
    for _ in range(60):
        texts: dict[str, tuple[str, ...]] = {}
        for number in range(draw.integers(1, 6)):
            name = f"{draw.choice([*'=+@;,'])}{number} {words(6)}".translate(dict.fromkeys(b"\n\x0b\x85", " "))
            own = dict.fromkeys(text for text in (words(30) for _ in range(3)) if text)
            if own:
                texts[" ".join(name.replace("\u2028", " ").split()) + f"n{number}"] = tuple(own)
        if texts:
            write_descriptions(path, texts)
            assert list(read_descriptions(path).items()) == list(texts.items())


def test_nothing_is_told_where_nothing_is_left_out(tmp_path: Path) -> None:
    told: list[str] = []
    read_descriptions(_file(tmp_path, "class name,description,,kind\nWren,Small., ,bird\n"), notify=told.append)
    assert not told


def test_quotes_and_line_breaks_inside_a_description_survive(tmp_path: Path) -> None:
    path = _file(tmp_path, 'class name,description\nWren,"A ""tiny"" bird.\nTail up."\n')
    assert read_descriptions(path) == {"Wren": ('A "tiny" bird.\nTail up.',)}


@pytest.mark.parametrize(
    "wrap",
    [
        lambda text: text,
        lambda text: {"text": text, "coarse": "bird"},
        lambda text: {"description": text},
        lambda text: [text],
        lambda text: [{"text": text}],
    ],
)
def test_the_forms_of_json_say_the_same(tmp_path: Path, wrap: object) -> None:
    assert callable(wrap)
    path = _file(tmp_path, json.dumps({"Wren": wrap("Small. "), "Auk": wrap("Black.")}), "texts.JSON")
    assert list(read_descriptions(path).items()) == [("Wren", ("Small.",)), ("Auk", ("Black.",))]


@pytest.mark.parametrize(("name", "text"), [("class", "text"), ("name", "description")])
def test_a_list_of_objects_says_the_same(tmp_path: Path, name: str, text: str) -> None:
    items = [{name: " Wren", text: "Small. ", "id": 7}, {text: "Black.", name: "Auk"}]
    path = _file(tmp_path, json.dumps(items), "texts.json")
    assert list(read_descriptions(path).items()) == [("Wren", ("Small.",)), ("Auk", ("Black.",))]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "found none"),
        ("class name,description\n", "found none"),
        ("Wren,Small.\nAuk,\n", "line 2: the description of 'Auk' is empty"),
        ("Wren,Small.\n,Black.\n", "line 2: a description without a class name"),
        ("Wren,Small, brown.\n", "line 1: expected a class name and a description, found 3 columns"),
        ("Wren,small,brown\n", "line 1: .* found 3 columns"),
        ("class name,description\nWren,small,brown\n", "line 2: .* found 3 columns"),
        ("class name,description,\nWren,Small, brown.\n", "line 2: .* found 3 columns"),
        ("Wren\nAuk\n", "line 1: .*found 1 column: 'Wren'"),
        ('Wren,Small.\nAuk,"Black.\n', "line 2: not valid CSV .*unexpected end of data"),
        ('Wren,"Small" and brown\n', "line 1: not valid CSV"),
        ("Wren,Small.\nAuk,Black.\nwren,Brown.\n", "'Wren' and 'wren' are the same"),
        ("Red Kite,Red.\nRed Kite,Forked.\nred-kite,Soars.\n", "'Red Kite' and 'red-kite' are the same"),
        ("name,text\nWren,Small.\nAuk,Black.\nWren, Small. \n", "line 4: 'Wren' has the same description at line 2;"),
        (b"Wren,Small\xff\n", "expected UTF-8 text, found byte 0xff at 10, line 1"),
        ("class name,description\nCafé,Small.\n".encode("cp1252"), "found byte 0xe9 at 26, line 2; save .* as UTF-8"),
        ("Wren,Small.\n".encode("utf-16-le"), "expected text, found zero bytes"),
        (b"\xff\xfeW\x00r", "expected UTF-16-LE text, found byte 0x72 at 2"),
        (b"Wren,Sm\x00all.\n", "expected text, found zero bytes"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "found a picture, an archive or another file"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF", "found a picture, an archive or another file"),
        (b"PK\x03\x04\x14\x00\x06\x00xl/", "expected text, found a zip archive or a spreadsheet"),
        (
            "class,details\nWren,Small.\n",
            r"line 1: expected a column 'description' \(or caption, .*found 'class', 'det",
        ),
        ("kind,text\nWren,Small.\n", "line 1: expected a column 'class name' .* in the header, found 'kind', 'text'"),
        ("class name\nWren\n", "line 1: expected a column 'description' .* found 'class name'"),
        ("class,species,text\na,b,c\n", "both 'class' and 'species' could be the column 'class name'"),
        ("name,description,description\na,b,c\n", "both 'description' and 'description' could be"),
        ('"Wr\nen",Small.\n', r"'Wr\\nen' holds '\\n', a control character or line break"),
        ("Wr\x07en,Small.\n", r"holds '\\x07', a control character"),
        (f"{'a' * 300},Small.\n", "has 300 letters, expected at most 200"),
        ("name|description\nWren|Small.\n", "expected `class name,description`, found 1 column"),
    ],
)
def test_bad_csv_is_refused_where_the_mistake_is(tmp_path: Path, content: str | bytes, message: str) -> None:
    path = _file(tmp_path, content)
    with pytest.raises(TextError, match=message) as caught:
        read_descriptions(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{}", "found none"),
        ('"Wren"', "found a str"),
        ("[]", "found none"),
        ('["Wren"]', "item 1: expected an object .* found a str"),
        ('[{"class": "Wren", "text": "a"}, {"text": "b"}]', "item 2: expected a key 'class' or 'name', found 'text'"),
        ('[{"name": "Wren", "txt": "a"}]', "item 1: expected a key 'text' or 'description', found 'name', 'txt'"),
        ('[{"name": " ", "text": "a"}]', "item 1: a description without a class name"),
        ('[{"name": "Wren", "text": ""}]', "item 1: the description of 'Wren' is empty"),
        ('[{"name": "Wren", "text": "a"}, {"class": "wren", "text": "b"}]', "'Wren' and 'wren' are the same"),
        ("{", "not valid JSON"),
        ('{"Wren": 3}', "found a int"),
        ('{"Wren": {"coarse": "bird"}}', "key 'Wren': expected a key 'text' or 'description', found 'coarse'; add it"),
        ('{"Wren": {"text": 3}}', "key 'Wren': expected words under 'text', found a int"),
        ('{"Wren": {}}', "expected a key 'text' or 'description', found none"),
        ('{"Wren": " "}', "key 'Wren': the description of 'Wren' is empty"),
        ('{"Wren": "a", "Wren": "b"}', "the key 'Wren' occurs twice"),
        ('{"Wren": ["a"], "Wren": ["b"]}', "the key 'Wren' occurs twice"),
        ('{"Wren": ["a"], " Wren": ["b"]}', "keys: 'Wren' and 'Wren' are the same"),
        ('{"Wren": []}', "key 'Wren': expected at least one text, found an empty list"),
        ('{"Wren": ["a", ""]}', "key 'Wren', text 2: the description of 'Wren' is empty"),
        ('{"Wren": ["a", 3]}', "key 'Wren', text 2: expected a text .* found a int"),
        ('{"Wren": ["a", ["b"]]}', "key 'Wren', text 2: expected a text .* found a list"),
        ('{"Wren": ["a", "b", "a "]}', "key 'Wren', text 3: 'Wren' has the same description at key 'Wren', text 1;"),
        (
            '[{"class": "Wren", "text": "a"}, {"class": "Auk", "text": "a"}, {"class": "Wren", "text": "a"}]',
            "item 3: 'Wren' has the same description at item 1;",
        ),
        ('{"Black Tern": "a", "Black_Tern": "b"}', "'Black Tern' and 'Black_Tern' are the same"),
        ('{"Wren": "a\\u0000b"}', "key 'Wren': 'Wren' or its description holds a zero or half a letter"),
        ('{"Wren": "a\\ud83d"}', "key 'Wren': 'Wren' or its description holds a zero or half a letter"),
        ('{"Wr\\ud83d": "a"}', "or its description holds a zero or half a letter"),
        ('{"Wr\\nen": "a"}', "a control character or line break"),
        ("[" * 100_000, "not valid JSON"),
    ],
)
def test_bad_json_is_refused(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(TextError, match=message):
        read_descriptions(_file(tmp_path, content, "texts.json"))


SEVERAL = {"Wren": ("Small.", "Brown, tail up."), "Auk": ("Black and white.",), "Gull": ("Grey.", "Loud.", "Small.")}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (
            "texts.csv",
            "class name,description\nWren,Small.\nAuk,Black and white.\nGull,Grey.\nGull,Loud.\n"
            'Wren ,"Brown, tail up."\nGull,Small.\n',
        ),
        (
            "texts.json",
            json.dumps(
                [
                    {"class": "Wren", "text": "Small."},
                    {"class": "Auk", "text": "Black and white."},
                    {"class": "Wren", "text": "Brown, tail up."},
                    *({"class": "Gull", "text": text} for text in ("Grey.", "Loud.", "Small.")),
                ]
            ),
        ),
        (
            "texts.json",
            '{"Wren": ["Small.", {"text": "Brown, tail up."}], "Auk": "Black and white.", '
            '"Gull": ["Grey.", "Loud.", "Small."]}',
        ),
    ],
    ids=["rows anywhere", "list of objects", "object of lists"],
)
def test_several_texts_of_a_class_come_in_the_order_of_the_file(tmp_path: Path, name: str, content: str) -> None:
    assert list(read_descriptions(_file(tmp_path, content, name)).items()) == list(SEVERAL.items())


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    texts = {"F/A-18": ('Twin "canted" fins,\nlong nose.', "A jet."), "Crème": ("Pale; smooth, 1/2 of it.",)} | SEVERAL
    path = tmp_path / "run" / "descriptions.csv"
    write_descriptions(path, texts)
    assert list(read_descriptions(path).items()) == list(texts.items())
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[0] == "class name,description"
    assert lines[-3:] == ["Gull,Grey.", "Gull,Loud.", "Gull,Small."]


def test_a_file_in_the_place_of_the_folder_is_an_artifact_error(tmp_path: Path) -> None:
    _file(tmp_path, "x", "run")
    with pytest.raises(ArtifactError, match="a file stands where a folder is meant"):
        write_descriptions(tmp_path / "run" / "descriptions.csv", {"a": ("b",)})
