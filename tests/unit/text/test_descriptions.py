import json
from pathlib import Path

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
def test_the_forms_of_csv_say_the_same(tmp_path: Path, content: str) -> None:
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
        (b"Wren,Small\xff\n", "expected UTF-8"),
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
