import time
import unicodedata

import pytest

from leadpp.text.replies import RULES, check_description, count_words, without_thoughts
from tests.unit.text.reply_samples import SEEN, UNSEEN

NAME = "Marsh Wren"
GOOD = SEEN[NAME]


def check(text: str, *, name: str = NAME, others: tuple[str, ...] = (), words: tuple[int, int] = (50, 85)) -> str:
    """Return the reason, or nothing; a text comes back exactly where there is no reason."""
    clean, reason = check_description(text, name=name, others=others, min_words=words[0], max_words=words[1])
    assert bool(clean) != bool(reason)
    return reason


def cleaned(text: str, *, name: str = NAME) -> str:
    clean, reason = check_description(text, name=name, others=(), min_words=50, max_words=85)
    assert not reason
    return clean


@pytest.mark.parametrize("name", SEEN)
def test_what_can_be_seen_passes_as_it_is_beside_all_others(name: str) -> None:
    others = tuple(SEEN)
    assert check_description(SEEN[name], name=name, others=others, min_words=50, max_words=85) == (SEEN[name], "")


@pytest.mark.parametrize("kind", UNSEEN)
def test_what_cannot_be_seen_is_refused(kind: str) -> None:
    assert "what can be seen" in check(UNSEEN[kind], name="anything")


@pytest.mark.parametrize(("kinds", "fits"), [(4, False), (5, True)])
def test_five_different_words_in_fifty_are_enough_and_four_are_not(kinds: int, fits: bool) -> None:
    seen = ["red", "blue", "wings", "tail", "bill"][:kinds]
    words = [*seen, *seen, *["thing"] * (50 - 2 * kinds)]
    assert (check(f"{' '.join(words)}.") == "") is fits


def test_one_rich_sentence_does_not_carry_three_on_habits() -> None:
    rich = "It is small, round and brown, with white streaks on a black back, a thin curved bill and pink legs."
    habits = (
        "It lives in wide marshes.",
        "The nest hangs in reeds.",
        "In winter it migrates to the far south of Mexico.",
    )
    assert "most of its sentences" in check(" ".join([rich, *habits]), words=(30, 60))
    assert not check(" ".join([rich, *habits[:1]]), words=(20, 60))


@pytest.mark.parametrize(
    "reply",
    [
        f"  {GOOD}\n",
        f'"{GOOD}"',
        f"“{GOOD}”",
        f"«{GOOD}»",
        f"Sure! Here is a description of the Marsh Wren:\n\n{GOOD}",
        f"Here’s a description: {GOOD}",
        f"Certainly!\n\n{GOOD}",
        f"The marsh wren, in sixty words:\n{GOOD}",
        f"Marsh Wren: {GOOD}",
        f"**Marsh Wren:** {GOOD}",
        f"# Marsh wren\n\n{GOOD}",
        f"marsh_wren\n{GOOD}",
        f"Description: {GOOD}",
        f"{GOOD} (65 words)",
        f"{GOOD}\n\nWord count: 65",
        f"<think>A wren. It lives in **reeds**.</think>\n\n{GOOD}",
        f"It lives in reeds, but I must not say so.\n</think>\n{GOOD}",
        f"<THINK>a</THINK><thinking>b</thinking>{GOOD}",
        GOOD.replace(". ", ".\n"),
        GOOD.replace(" ", " \t\u00a0"),
        GOOD.replace("e", "e\u200b") + "\ufeff",
    ],
)
def test_what_stands_round_a_description_is_taken_away(reply: str) -> None:
    assert cleaned(reply) == GOOD


def test_a_name_with_a_numbering_is_a_label_too() -> None:
    assert cleaned(f"Marsh Wren: {GOOD}", name="059.Marsh_Wren") == GOOD


def test_accents_are_composed() -> None:
    text = GOOD.replace("thin and", "fin\u0065\u0301 and")
    assert "finé and" in cleaned(text)


def test_quotation_marks_inside_stay() -> None:
    text = f'"Pink" legs and a "fine" bill. {GOOD} Its name is "wren"'.removesuffix(' Its name is "wren"')
    assert cleaned(text) == text
    inches = GOOD.replace("A tiny", 'A 4 1/2" long')
    assert cleaned(inches) == inches


BAD = [
    ("", "it is empty"),
    (" \n\u200b ", "it is empty"),
    ('"', "0 words"),
    (f"<think>{GOOD}", "it is empty"),
    (GOOD.replace("tiny", "ti\x07ny"), "U+0007"),
    (GOOD.replace("tiny", "ti\u202eny"), "U+202E"),
    (GOOD.replace("tiny", "ti\ud800ny"), "U+D800"),
    (f"## Looks\n\n{GOOD}", "a heading"),
    (f"Looks\n===\n{GOOD}", "a heading"),
    (GOOD.replace("A tiny", "- A tiny"), "a list"),
    ("\n".join(f"• {sentence}." for sentence in GOOD.rstrip(".").split(". ")), "a list"),
    ("\n".join(f"{n}. {sentence}." for n, sentence in enumerate(GOOD.rstrip(".").split(". "))), "a list"),
    (GOOD.replace("short tail", "**short** tail"), "emphasis"),
    (GOOD.replace("short tail", "*short* tail"), "emphasis"),
    (GOOD.replace("short tail", "__short__ tail"), "emphasis"),
    (f"```\n{GOOD}\n```", "code"),
    (f"| part | colour |\n| bill | pink |\n{GOOD}", "a table"),
    (GOOD.replace("tail", "[tail](#t)", 1), "a link"),
    (f"<p>{GOOD}</p>", "a tag"),
    (GOOD.replace("The crown", "\n\nThe crown"), "2 paragraphs"),
    (f"I'm sorry, but I cannot see the bird. {GOOD}", "speaks to the asker"),
    (f"I’m sorry, but this bird is unknown. {GOOD}", "speaks to the asker"),
    (f"As an AI language model, I have no eyes. {GOOD}", "speaks to the asker"),
    (f"{GOOD} Let me know if you need more!", "speaks to the asker"),
    (f"Please provide a photograph. {GOOD}", "speaks to the asker"),
    (f"Here is a wren with much to see. {GOOD}", "speaks to the asker"),
    (f"{GOOD} See https://example.org/wren for more.", "address of a page"),
    (f"{GOOD} See allbirds.com for more.", "address of a page"),
    (f"={GOOD}", "formula"),
    (f"+{GOOD}", "formula"),
    (f"@{GOOD}", "formula"),
    (f"-{GOOD}", "formula"),
    (f"\uff1d{GOOD}", "formula"),
    (f"{GOOD} {GOOD}", "130 words; 50 to 85"),
    (GOOD.partition(".")[0] + ".", "12 words; 50 to 85"),
    (GOOD[:-30], "middle of a sentence"),
]


@pytest.mark.parametrize(("reply", "reason"), BAD)
def test_a_reply_that_cannot_be_used_says_why(reply: str, reason: str) -> None:
    found = check(reply)
    assert reason in found
    assert found.isprintable()


@pytest.mark.parametrize(("count", "fits"), [(39, False), (40, True), (120, True), (121, False)])
def test_lengths_may_be_a_fifth_off_and_no_more(count: int, fits: bool) -> None:
    words = " ".join(SEEN.values()).replace(".", "").split()[:count]
    assert len(words) == count
    assert ("words" not in check(f"{' '.join(words)}.", words=(50, 100))) is fits


def test_words_are_what_has_a_letter_or_a_digit() -> None:
    assert count_words("3 1/2 cm – black-and-white, – … 'tis") == 5


CARS = "Audi S4 Sedan 2007", "Audi S4 Sedan 2012", "Audi TT Coupe 2011", "Ram C/V Van 2012"


@pytest.mark.parametrize(
    ("name", "others", "remark", "fits"),
    [
        ("Fish Crow", ("Crow", "Raven"), "The crow is black.", True),
        ("Crow", ("Fish Crow",), "This fish crow is black.", True),
        ("Fish Crow", ("American Crow",), "Smaller than the American crow.", False),
        ("Fish Crow", ("American Crow",), "Smaller than American crows.", False),
        ("Fish Crow", ("001.American_Crow",), "Smaller than the American-Crow.", False),
        ("Wren", ("Citroën DS",), "Flat as a CITROEN DS.", False),
        ("Papaya", ("Orange", "Peach"), "The flesh is orange to peach.", True),
        ("Papaya", ("Mango",), "Sweeter than a mango.", False),
        ("Papaya", ("Man", "Ape"), "Many shapes.", True),
        ("Audi S4 Sedan 2012", CARS, "The 2012 Audi S4 Sedan is low.", True),
        ("Audi S4 Sedan 2012", CARS, "The 2007 Audi S4 Sedan is low.", False),
        ("Audi S4 Sedan 2012", CARS, "Like the Audi S4 Sedan 2007.", False),
        ("Audi TT Coupe 2011", CARS, "Like the 2012 Ram C-V van.", False),
    ],
)
def test_a_text_on_another_class_is_refused(name: str, others: tuple[str, ...], remark: str, fits: bool) -> None:
    assert ("another class" in check(f"{remark} {GOOD}", name=name, others=others)) is not fits


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_alone_refuses_some_reply(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = [reply for reply, _ in BAD] + [f"{GOOD} It is smaller than a fish crow.", *UNSEEN.values()]
    assert all(check(reply, others=("Fish Crow",)) for reply in bad)
    monkeypatch.delitem(RULES, rule)
    assert any(not check(reply, others=("Fish Crow",)) for reply in bad)


@pytest.mark.parametrize(
    "reply",
    [
        "word " * 20_000,
        "<think>" * 14_000,
        "a" + "\u0301\u0316" * 50_000,
        "*" * 100_000,
        "\n" * 100_000,
        "(" * 100_000,
        "x" * 100_000,
        GOOD + " " * 100_000,
    ],
)
def test_a_reply_of_a_hundred_thousand_characters_takes_no_time(reply: str) -> None:
    began = time.process_time()
    check(reply, others=tuple(f"Class number {number}" for number in range(200)))
    assert time.process_time() - began < 1


def test_thoughts_end_with_their_last_end() -> None:
    assert without_thoughts("a<think>b</think>c</think>d") == "d"
    assert without_thoughts("a<think>b") == "a"
    assert without_thoughts("a < think > b") == "a < think > b"


def test_what_is_accepted_is_one_line_of_composed_text() -> None:
    for text in SEEN.values():
        clean = cleaned(text.replace(". ", ".\n"), name="x")
        assert clean == unicodedata.normalize("NFC", clean)
        assert clean.isprintable()
