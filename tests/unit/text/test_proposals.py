import json
import time
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from leadpp.errors import TextError
from leadpp.text.proposals import Closeness, class_key, general_names, read_proposals, sort_proposals

BIRDS = ["Wren", "Black-and-white Warbler", "Clark's Nutcracker", "Nēnē", "American robin"]


@pytest.mark.parametrize(
    "reply",
    [
        "\n".join(BIRDS),
        "\r\n\r\n".join(BIRDS),
        "\n".join(f"{number}. {name}" for number, name in enumerate(BIRDS, start=1)),
        "\n".join(f"{number}) **{name}**" for number, name in enumerate(BIRDS, start=1)),
        "\n".join(f"({number}) {name}." for number, name in enumerate(BIRDS, start=1)),
        "\n".join(f"- {name}" for name in BIRDS),
        "\n".join(f"  • *{name}*" for name in BIRDS),
        "\n".join(f'* "{name}",' for name in BIRDS),
        "\n".join(f"{name} – a bird of the north" for name in BIRDS),
        "\n".join(f"**{name}**: a bird, small and brown, of the north" for name in BIRDS),
        "\n".join(f"{name} (Aves latina)" for name in BIRDS),
        "\n".join(f"{name}, a small brown bird, often seen" for name in BIRDS),
        "\n".join(f"{name}\tAves latina" for name in BIRDS),
        ", ".join(BIRDS),
        "; ".join(BIRDS),
        f"{', '.join(BIRDS[:-1])}, and {BIRDS[-1]}.",
        f"Sure! Here are the names: {', '.join(BIRDS)}",
        "Sure! Here are five birds:\n\n" + "\n".join(BIRDS) + "\n\nLet me know if you want more!",
        "# Birds\n\n**Songbirds:**\n" + "\n".join(BIRDS) + "\n\nNote that some of these birds are rare.",
        f"Songbirds: {', '.join(BIRDS[:4])}\n{BIRDS[4]}",
        "| Name | Latin |\n|---|---|\n" + "\n".join(f"| {name} | Aves latina |" for name in BIRDS),
        "| # | Name |\n|---|---|\n" + "\n".join(f"| {n} | {name} | x |" for n, name in enumerate(BIRDS, start=1)),
        json.dumps(BIRDS),
        json.dumps(BIRDS, indent=2, ensure_ascii=False),
        f"Here you are:\n```json\n{json.dumps(BIRDS)}\n```\n",
        json.dumps([{"id": 1, "common_name": name, "latin": "Aves"} for name in BIRDS]),
        json.dumps({"birds": BIRDS[:2], "more": BIRDS[2:]}),
        json.dumps(dict.fromkeys(BIRDS, "a bird")),
        "<think>Dodo? No.\nMoa?</think>\n" + "\n".join(BIRDS),
    ],
)
def test_names_are_read_from_whatever_form_they_come_in(reply: str) -> None:
    assert read_proposals(reply) == BIRDS


def test_numbers_that_belong_to_a_name_stay() -> None:
    names = ["747-100", "707-320", "F/A-18", "BMW M3 Coupe 2012", "2012 Audi A4", "Corvette (C6)", "500 Abarth"]
    assert read_proposals("\n".join(names)) == names
    assert read_proposals("\n".join(f"{place}. {name}" for place, name in enumerate(names, start=1))) == names


def test_scripts_without_commas_of_ours_are_read_too() -> None:
    assert read_proposals("鶴、鷺、鴨") == ["鶴", "鷺", "鴨"]
    assert read_proposals("1. Größe\n2. Зяблик\n3. ヤマセミ") == ["Größe", "Зяблик", "ヤマセミ"]
    assert read_proposals("Ne\u0304ne\u0304") == ["Nēnē"]


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "\n \n",
        "I'm sorry, but I cannot list birds.",
        "As an AI language model, I do not watch birds.",
        "Here are the names you asked for:",
        "Sure!",
        "200",
        "---",
        "=SUM(A1:A2)",
        "@import",
        "- =1+1",
        "<b>Wren</b>",
        "Wr\x07en",
        "x" * 81,
        "This is a list of names that I made for you",
        "Most of these birds live in forests.",
        "[]",
        "{}",
        "[1, 2, null]",
        "[" * 100_000,
    ],
)
def test_what_is_no_name_is_left_out(reply: str) -> None:
    assert read_proposals(reply) == []


def test_the_last_name_of_a_reply_that_was_cut_off_is_left_out() -> None:
    assert read_proposals("1. Wren\n2. Au", complete=False) == ["Wren"]
    assert read_proposals('["Wren", "Tern", "Au', complete=False) == ["Wren", "Tern"]
    assert read_proposals('["Wren", "Tern"]', complete=False) == ["Wren", "Tern"]


@pytest.mark.parametrize("piece", ["a", "- ", "(", "1. ", "Wren, ", " ", "\n", "[", "*", "| ", ": ", "<think>", "̖́"])
def test_long_replies_take_no_time(piece: str) -> None:
    began = time.process_time()
    read_proposals(piece * (100_000 // len(piece)))
    assert time.process_time() - began < 2


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Black_footed Albatross", "the Black-footed Albatrosses"),
        ("Finch", "finches"),
        ("Canary", "Canaries"),
        ("Fox", "Foxes"),
        ("Mini Cooper", "Mini Coopers"),
        ("Nene", "Nēnē"),
        ("An Auk", "auk"),
    ],
)
def test_spellings_articles_and_plurals_are_one_name(one: str, other: str) -> None:
    assert class_key(one) == class_key(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [("Audi TT", "Audi TTS"), ("737-300", "737-400"), ("Ibis", "Ibi"), ("BMW M3", "BMW M3s"), ("Anhinga", "Hinga")],
)
def test_other_endings_are_other_names(one: str, other: str) -> None:
    assert class_key(one) != class_key(other)


def test_each_name_is_taken_once_and_the_others_say_which_it_is() -> None:
    new, dropped = sort_proposals(["wrens", "Auk", "The Auk", "Tern", "auks"], known=["Wren"])
    assert new == ["Auk", "Tern"]
    assert [(one.name, one.like) for one in dropped] == [("wrens", "Wren"), ("The Auk", "Auk"), ("auks", "Auk")]
    assert {one.reason for one in dropped} == {"the same name"}


class Compass:
    """A text tower whose vectors are angles that a table gives for the words in a sentence."""

    def __init__(self, degrees: dict[str, float]) -> None:
        self.degrees = degrees
        self.read: list[str] = []

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        self.read += texts
        angles = torch.tensor([self.degrees[text.removeprefix("a ").removesuffix(".")] for text in texts]).deg2rad()
        return 3 * torch.stack([angles.cos(), angles.sin()], dim=1)


def test_names_closer_than_an_angle_are_one() -> None:
    tower = Compass({"Wren": 0.0, "Jenny": 9.0, "Auk": 50.0, "Alk": 58.0, "Elk": 65.0, "A1": 90.0, "A2": 91.0})
    closeness = Closeness(tower, template="a {}.", least_cosine=torch.tensor(10.0).deg2rad().cos().item())
    new, dropped = closeness.sort(["Jenny", "Auk", "Alk", "Elk", "A1", "A2"], known=["Wren"])
    assert new == ["Auk", "Elk", "A1", "A2"]  # Alk is not there for Elk to be close to; digits are never close
    assert [(one.name, one.like) for one in dropped] == [("Jenny", "Wren"), ("Alk", "Auk")]
    assert "0.988" in dropped[0].reason
    assert closeness.sort([], known=new) == ([], [])


def test_no_sentence_is_read_twice() -> None:
    tower = Compass({"Wren": 0.0, "Auk": 50.0, "Tern": 100.0})
    closeness = Closeness(tower, template="a {}.", least_cosine=0.99)
    closeness.sort(["Wren", "Auk"], known=[])
    closeness.sort(["Tern", "Auk"], known=["Wren"])
    assert sorted(tower.read) == ["a Auk.", "a Tern.", "a Wren."]


def test_a_tower_without_a_direction_is_an_error() -> None:
    class Blank:
        def encode_texts(self, texts: Sequence[str]) -> Tensor:
            return torch.zeros(len(texts), 2)

    with pytest.raises(TextError):
        Closeness(Blank(), template="a {}.", least_cosine=0.9).sort(["Wren"], known=[])


def test_general_names_are_found_beside_their_members() -> None:
    names = ["Kestrel", "American Kestrel", "Black Tern", "tern", "Heron", "Night-Heron", "Crow", "Scarecrow"]
    assert general_names(names) == {"Kestrel": "American Kestrel", "tern": "Black Tern", "Heron": "Night-Heron"}
