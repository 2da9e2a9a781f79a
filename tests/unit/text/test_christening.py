"""Names for pictures from a model that sees: what counts as a name, what is asked again, and what it is shown."""

import asyncio

import pytest

from leadpp.errors import UnansweredError
from leadpp.text.christening import Christening, ask_name
from leadpp.text.llm import open_chat
from tests.llm_server import ENDLESS, MALFORMED, REFUSAL, Asked, LLMServer, Told

PICTURES = ("data:image/jpeg;base64,AAAA", "data:image/jpeg;base64,BBBB")


class Sayings:
    """Answers one thing after another, the last for ever."""

    def __init__(self, *sayings: str | Told) -> None:
        self.sayings = list(sayings)

    def __call__(self, asked: Asked) -> str | Told:
        return self.sayings.pop(0) if len(self.sayings) > 1 else self.sayings[0]


def ask(*sayings: str | Told, attempts: int = 3, domain: str = "bird") -> tuple[Christening, list[Asked]]:
    async def run(url: str) -> Christening:
        async with open_chat(base_url=url, model="small", retries=0, backoff_s=0.01) as chat:
            return await ask_name(
                chat,
                PICTURES,
                domain=domain,
                known=("Kea", "Marsh Wren"),
                near=("Kea",),
                attempts=attempts,
                max_tokens=50,
            )

    with LLMServer(answer=Sayings(*sayings)) as server:
        return asyncio.run(run(server.url)), server.asked


def test_the_model_is_shown_the_pictures_and_what_came_nearest() -> None:
    found, (asked,) = ask("House Wren")
    assert found == Christening(name="House Wren", attempts=1)
    first, *pictures = asked.messages[0]["content"]
    assert [part["image_url"]["url"] for part in pictures] == list(PICTURES)
    assert "kind of bird," in first["text"]
    assert "Kea" in first["text"]
    assert "Marsh" not in first["text"]
    _, (asked,) = ask("House Wren", domain="")
    assert "kind of thing," in asked.words


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("**House Wren**", "House Wren"),
        ("House Wren (Troglodytes aedon)", "House Wren"),
        ('"House Wren".', "House Wren"),
        ("<think>It is small.</think>\nHouse Wren", "House Wren"),
        ("Zaunkönig", "Zaunkönig"),
    ],
)
def test_a_name_is_found_in_what_stands_round_it(said: str, name: str) -> None:
    assert ask(said)[0].name == name


def test_a_name_of_the_list_is_said_to_be_known() -> None:
    found, _ = ask("The Marsh Wrens")
    assert (found.name, found.known) == ("The Marsh Wrens", True)


@pytest.mark.parametrize(
    "bad",
    [
        REFUSAL, ENDLESS, "I think that this could be some kind of small wren, but it is hard to say.",
        "- House Wren\n- Winter Wren\n- Marsh Wren", "=HYPERLINK(1)", "<script>alert(1)</script>", "42",
    ],
)  # fmt: skip
def test_what_is_no_name_is_asked_again_with_the_reason_and_then_given_up(bad: str | Told) -> None:
    found, asked = ask(bad, "House Wren")
    assert (found.name, found.attempts, len(asked)) == ("House Wren", 2, 2)
    assert "I cannot use that" in asked[1].words
    found, asked = ask(bad, attempts=2)
    assert (found.name, found.attempts, len(asked)) == ("", 2, 2)
    assert found.reason.startswith("the answer ")


def test_a_bad_answer_is_shown_again_by_its_beginning_alone() -> None:
    _, (first, second) = ask(Told(text="It is small. " * 1000), "House Wren")
    assert [one["role"] for one in second.messages] == ["user", "assistant", "user"]
    assert second.messages[0] == first.messages[0]
    assert 1900 < len(second.messages[1]["content"]) <= 2000


@pytest.mark.parametrize("nothing", ["", " \n", "<think>Small.</think>"])
def test_after_an_empty_answer_the_reason_joins_the_question(nothing: str) -> None:
    found, (first, second) = ask(nothing, "House Wren")
    assert (found.name, found.attempts) == ("House Wren", 2)
    (turn,) = second.messages
    asked, *pictures = first.messages[0]["content"]
    assert turn["content"][1:] == pictures
    assert turn["content"][0]["text"].startswith(asked["text"])
    assert turn["content"][0]["text"].endswith("the answer is no name. One common name alone, or unknown.")


@pytest.mark.parametrize("said", ["unknown", "Unknown.", "**UNKNOWN**"])
def test_not_knowing_is_believed(said: str) -> None:
    found, asked = ask(said)
    assert (found.name, found.reason, len(asked)) == ("", "the model cannot tell", 1)


def test_a_server_that_answers_nonsense_is_an_error() -> None:
    with pytest.raises(UnansweredError):
        ask(MALFORMED)
