import re
from pathlib import Path

import pytest

from leadpp.errors import TextError
from leadpp.text.prompts import DescribePrompt, ProposePrompt, default_prompt, read_describe_prompt, read_propose_prompt

PLAIN = "Describe {name}."


def describe(path: Path | None = None, *, domain: str = "bird species", parts: tuple[str, ...] = ()) -> DescribePrompt:
    return read_describe_prompt(path, domain=domain, parts=parts, min_words=50, max_words=85)


def written(tmp_path: Path, content: str | bytes) -> Path:
    path = tmp_path / "prompt.txt"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def propose(path: Path | None = None, *, domain: str = "birds of North America") -> ProposePrompt:
    return read_propose_prompt(path, domain=domain)


def test_the_shipped_prompt_asks_for_what_can_be_seen() -> None:
    system, user = describe(parts=("bill", "legs")).messages("Wren", number=0)
    assert (system["role"], user["role"]) == ("system", "user")
    assert "bird species" in system["content"]
    for word in ("Wren", "bird species", "bill, legs", "50 to 85 words", "colours", "habitat"):
        assert word in user["content"]
    assert not re.search(r"\{\w+\}", system["content"] + user["content"])


def test_the_shipped_prompts_can_be_edited_as_they_are(tmp_path: Path) -> None:
    assert describe(written(tmp_path, default_prompt())) == describe()
    assert propose(written(tmp_path, default_prompt("propose"))) == propose()


def test_without_domain_and_parts_the_question_still_reads(tmp_path: Path) -> None:
    path = written(tmp_path, "{name}|{domain}|{parts}|{words}")
    prompt = read_describe_prompt(path, domain=" ", parts=(), min_words=60, max_words=60)
    name, domain, parts, words = prompt.messages("Wren", number=0)[0]["content"].split("|")
    assert (name, words) == ("Wren", "60")
    assert domain
    assert "colours" in parts


@pytest.mark.parametrize("name", ["{domain}", "a {name} b", "{", "}{", "{0}", "%s", r"\1", "{{name}}"])
def test_braces_in_a_name_stay(tmp_path: Path, name: str) -> None:
    prompt = describe(written(tmp_path, 'Say {name}, not {} or {"a": 1} or { x }.'))
    assert prompt.messages(name, number=0) == [
        {"role": "user", "content": f'Say {name}, not {{}} or {{"a": 1}} or {{ x }}.'}
    ]


def test_a_name_is_told_without_its_numbering() -> None:
    assert "Black footed Albatross" in describe().messages("001.Black_footed_Albatross", number=0)[-1]["content"]


def test_further_descriptions_are_asked_for_in_other_words() -> None:
    prompt = describe()
    questions = [prompt.messages("Wren", number=number)[-1]["content"] for number in range(7)]
    first = questions[0]
    assert all(question.startswith(first) for question in questions)
    assert len(set(questions)) == 6  # five variants come by turns after the plain question
    assert questions[6] == questions[1]
    later = prompt.messages("Wren", number=1, earlier=("Small {brown}.", "Tail up."))[-1]["content"]
    assert later.startswith(questions[1])
    assert "Small {brown}.\n\nTail up." in later


def test_asking_again_tells_the_reason_and_keeps_the_conversation() -> None:
    prompt = describe()
    messages = prompt.messages("Wren", number=0)
    again = prompt.again(messages, " Too short. \n", "it has 2 words")
    assert again[:2] == messages
    assert again[2] == {"role": "assistant", "content": "Too short."}
    assert again[3]["role"] == "user"
    assert "it has 2 words" in again[3]["content"]
    thrice = prompt.again(again, "x" * 100_000, "it is long")
    assert [one["role"] for one in thrice] == ["system", "user", "assistant", "user", "assistant", "user"]
    assert len(thrice[4]["content"]) == 2000


def test_an_empty_reply_makes_no_empty_turn() -> None:
    prompt = describe()
    messages = prompt.messages("Wren", number=0)
    again = prompt.again(messages, " \n", "it is empty")
    assert [one["role"] for one in again] == ["system", "user"]
    assert again[-1]["content"].startswith(messages[-1]["content"])
    assert "it is empty" in again[-1]["content"]
    assert "it is empty" not in messages[-1]["content"]


def test_an_own_prompt_without_system_sends_none_and_takes_the_rest_from_the_shipped(tmp_path: Path) -> None:
    prompt = describe(written(tmp_path, f"a note with {{braces}}\n[user]\n{PLAIN}\n"))
    assert prompt.messages("Wren", number=0) == [{"role": "user", "content": "Describe Wren."}]
    assert len(prompt.messages("Wren", number=1)[0]["content"]) > len("Describe Wren.")
    assert "because" in prompt.again(prompt.messages("Wren", number=0), "x", "because")[-1]["content"]


def test_an_own_prompt_may_leave_the_additions_empty(tmp_path: Path) -> None:
    prompt = describe(written(tmp_path, f"[user]\n{PLAIN}\n[variants]\n[earlier]\n"))
    assert prompt.messages("Wren", number=3, earlier=("a",))[0]["content"] == "Describe Wren."


def test_the_digest_tells_templates_and_settings_apart_and_nothing_else(tmp_path: Path) -> None:
    prompts: list[DescribePrompt | ProposePrompt] = [
        describe(),
        describe(domain="cars"),
        describe(parts=("bill",)),
        describe(written(tmp_path, PLAIN)),
        read_describe_prompt(None, domain="bird species", parts=(), min_words=50, max_words=90),
        propose(),
        propose(domain="cars"),
    ]
    digests = [prompt.digest for prompt in prompts]
    assert len(set(digests)) == len(digests)
    assert all(re.fullmatch("[0-9a-f]{12}", digest) for digest in digests)
    assert describe(written(tmp_path, f"a note\n[user]\n{PLAIN}")).digest == describe(written(tmp_path, PLAIN)).digest


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "the prompt is empty; `leadpp describe --print-prompt`"),
        (" \n\n", "the prompt is empty"),
        ("[user]\n \n", "the prompt is empty"),
        (b"Describe {name} \xff", "expected UTF-8"),
        ("Describe it.", r"the question in \[user\] lacks \{name\}"),
        ("Describe {nmae}.", r"unknown field \{nmae\} in \[user\]; did you mean \{name\}\?"),
        ("Describe {name} {colour}.", r"unknown field \{colour\} in \[user\]; the fields are \{name\}, \{domain\}"),
        ("Describe {name}; {reason}", r"unknown field \{reason\} in \[user\]"),
        ("[system]\nYou describe {name}.", r"expected a part \[user\]"),
        ("[user]\n{name}\n[sytem]\nhello", r"unknown part \[sytem\]; the parts are \[system\], \[user\]"),
        ("[user]\n{name}\n[user]\n{name}!", r"the part \[user\] occurs twice"),
        ("[user]\n{name}\n[again]\n{name} {reason}", r"unknown field \{name\} in \[again\]"),
        (default_prompt("propose"), r"unknown (field|part)"),
    ],
)
def test_a_bad_prompt_is_one_clear_line(tmp_path: Path, content: str | bytes, message: str) -> None:
    path = written(tmp_path, content)
    with pytest.raises(TextError, match=message) as caught:
        describe(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_prompt_that_is_not_there_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(TextError, match=r"none\.txt: cannot be read"):
        describe(tmp_path / "none.txt")


def test_names_are_asked_for_beside_those_that_are_known() -> None:
    prompt = propose()
    plain = prompt.messages(40)[-1]["content"]
    assert "40 different birds of North America" in plain
    later = prompt.messages(40, known=("Wren", "Auk {x}"))[-1]["content"]
    assert later.startswith(plain)
    assert later.endswith("Wren\nAuk {x}")


def test_a_prompt_of_the_other_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TextError, match="unknown part"):
        propose(written(tmp_path, default_prompt()))
    with pytest.raises(TextError, match=r"lacks \{count\}"):
        propose(written(tmp_path, "List {domain}."))
