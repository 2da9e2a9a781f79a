"""Whether what a language model answered can be used as a description; see :func:`check_description`."""

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from leadpp.text.names import name_key, without_numbering
from leadpp.text.visible import VISIBLE, plain_words, unseen_words, visible_words

LENGTH_TOLERANCE: Final = 0.2
"""Share by which a text may be shorter or longer than wanted."""
VISIBLE_PER_50: Final = 5
"""Different words for what can be seen that a text needs for every 50 of its words."""
VISIBLE_IN_SENTENCE: Final = 2
"""Different words for what can be seen from which on a sentence is not counted as one on other things."""

_THOUGHTS: Final = re.compile(r"<(/?)(?:think|thinking|reasoning)>", re.IGNORECASE)
_DROPPED: Final = dict.fromkeys(map(ord, "\u00ad\u200b\u2060\ufeff"))
"""Characters without width that mean nothing: soft hyphen, zero-width space, word joiner, byte order mark."""
_JOINERS: Final = "\u200c\u200d"
"""Characters without width that some scripts are written with."""
_QUOTES: Final = ('""', "''", "\u201c\u201d", "\u2018\u2019", "\u201e\u201c", "\u00ab\u00bb", "\u300c\u300d")
_OPENERS: Final = re.compile(
    r"(?:sure|certainly|of course|absolutely|okay|here(?: is|'s| are)|below is|the following is)\b",
    re.IGNORECASE,
)
_LABELS: Final = frozenset({"description", "answer", "response", "text"})
_CLOSING: Final = re.compile(
    r"\s*[([]?\s*(?:word count|words)\s*:\s*\d+\s*[)\]]?\.?$|\s*[([]\d+ words[)\]]\.?$", re.IGNORECASE
)
_MOST_PREAMBLE: Final = 200
"""Characters within which a preamble ends."""
_MOST_WORD: Final = 40
"""Characters a word wanted; what is longer still is not looked at."""

_REFUSALS: Final = re.compile(
    r"\b(?:i(?:'m| am) (?:very |so |really )?sorry|i apologi[sz]e|as an ai|(?:as|i am|i'm) a (?:large )?language model"
    r"|i (?:can't|cannot|can not|could not|couldn't|do not|don't|am not able|am unable|won't|will not)\b"
    r"|i'm (?:unable|not able|not sure|not familiar)|unable to (?:provide|describe|help|assist)"
    r"|(?:no|not enough|insufficient) information|(?:please|could you) (?:provide|specify|clarify|give me)"
    r"|let me know)",
    re.IGNORECASE,
)
_MARKUP: Final = (
    ("a heading", re.compile(r"^\s*#{1,6}\s|^\s*(?:={3,}|-{3,})\s*$", re.MULTILINE)),
    ("a list", re.compile(r"^\s*(?:[-+•·▪◦‣–—]|\*|\d{1,3}[.)])\s", re.MULTILINE)),
    ("code", re.compile(r"`")),
    ("emphasis", re.compile(r"\*|__|~~")),
    ("a table", re.compile(r"\|")),
    ("a link", re.compile(r"\]\(")),
    ("a tag", re.compile(r"<[a-z/!]", re.IGNORECASE)),
)
_ADDRESS: Final = re.compile(r"\b(?:https?:|ftp:|www\.)|\b[\w-]{2,63}\.(?:com|org|net|edu|gov)\b", re.IGNORECASE)
_FORMULA: Final = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""As a spreadsheet reads them, the wide forms too."""
_ENDS: Final = (".", "!", "?", "\u2026", "\u3002")
_AFTER_END: Final = "\"')]\u2019\u201d\u00bb"
_SENTENCE: Final = re.compile(r"(?<=[.!?])\s+")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Wanted:
    """What a description is held to."""

    name: str
    others: Sequence[str]
    min_words: int
    max_words: int


def check_description(
    text: str, *, name: str, others: Sequence[str], min_words: int, max_words: int
) -> tuple[str, str]:
    """Clean a reply, and say what is wrong with it if it cannot be used as the description of a class.

    Cleaning takes away thoughts between ``<think>`` and ``</think>``, an introduction ("Sure! Here is ...:"), a label
    in front (the name, or "Description:"), quotation marks round the whole, a count of words at the end, and characters
    without width; it joins lines, makes every white space one space, and composes accents (NFC).

    What is left must be, in this order:

    1. there at all, and without control characters or others that no text has;
    2. without markup: headings, lists, emphasis, code, tables, links, tags;
    3. one paragraph;
    4. no refusal, apology or question to the asker ("I'm sorry", "As an AI", "Please provide ...");
    5. without addresses of pages;
    6. not begun with ``= + - @``, which a spreadsheet takes for a formula;
    7. between ``min_words`` and ``max_words`` long, or up to a fifth less or more; words are what stands between
       spaces and has a letter or digit;
    8. ended as a sentence is, or it was cut off;
    9. on this class: it has the full name of no other class, in any spelling, with a year at either end. A name does
       not count that holds the class's own or is part of it ("crow" in a text on the fish crow), nor one made of words
       for what can be seen ("Orange", "Black").
    10. on what can be seen: of the words of :mod:`leadpp.text.visible` at least 5 different ones for every 50 words,
       and no more than half of its sentences on other things, that is with a word for habitat, range, history,
       behaviour, use or taxonomy and fewer than 2 for what can be seen.

    The time is proportional to the length of the text.

    Args:
        text: What the model answered.
        name: The class.
        others: Names of the other classes; the class's own may be among them.
        min_words: Fewest words wanted.
        max_words: Most words wanted.

    Returns:
        The clean text and nothing, or nothing and the reason, in words that the model can be told.
    """
    wanted = _Wanted(name=name, others=others, min_words=min_words, max_words=max_words)
    answer = without_thoughts(text)
    if len(answer) > _MOST_WORD * max_words:  # composing accents may take time that grows with the square
        return "", _length(answer, wanted) or "it has words that are no words"
    clean = clean_reply(answer, name=name)
    for check in RULES.values():
        if reason := check(clean, wanted):
            return "", reason
    return " ".join(clean.split()), ""


def failed_rules(text: str, *, name: str, others: Sequence[str], min_words: int, max_words: int) -> list[str]:
    """Return the names of all rules that a reply breaks, to measure them; see :func:`check_description`."""
    wanted = _Wanted(name=name, others=others, min_words=min_words, max_words=max_words)
    clean = clean_reply(text, name=name)
    return [rule for rule, check in RULES.items() if check(clean, wanted)]


def clean_reply(text: str, *, name: str) -> str:
    """Take away what stands round a description; lines and paragraphs stay."""
    text = unicodedata.normalize("NFC", without_thoughts(text)).translate(_DROPPED)
    lines = [" ".join(line.split()) for line in text.splitlines()]
    text = re.sub(r"\n{2,}", "\n\n", "\n".join(lines)).strip()
    text = _without_label(_without_preamble(_unquoted(text)), name=name)
    return _unquoted(_CLOSING.sub("", text).strip())


def without_thoughts(text: str) -> str:
    """Take away what a reasoning model thinks aloud, up to the last end of a thought; one without end is all thought.

    >>> without_thoughts("<think>A wren?</think>A small bird."), without_thoughts("A wren?</think> A bird.")
    ('A small bird.', ' A bird.')
    """
    start, thinking = 0, len(text)
    for mark in _THOUGHTS.finditer(text):
        if mark[1]:
            start, thinking = mark.end(), len(text)
        elif thinking == len(text):
            thinking = mark.start()
    return text[start:thinking]


def _unquoted(text: str) -> str:
    """Take away quotation marks round the whole, if they are the only ones of their kind."""
    for opening, closing in _QUOTES:
        inner = text[1:-1]
        if (
            len(text) > 2
            and text[0] == opening
            and text[-1] == closing
            and opening not in inner
            and closing not in inner
        ):
            return inner.strip()
    return text


def _without_preamble(text: str) -> str:
    """Take away a first line that ends with a colon, or what "Sure!", "Here is" or the like begin, up to a colon."""
    head = text[:_MOST_PREAMBLE]
    line = head.partition("\n")[0]
    if len(line) < len(head) and line.endswith(":"):
        return text[len(line) :].strip()
    if not _OPENERS.match(_straight(head)):
        return text
    end = next((head.index(mark) for mark in ":\n!" if mark in head), -1)
    return text[end + 1 :].strip()


def _without_label(text: str, *, name: str) -> str:
    """Take away the name, or a word such as "Description", if a colon follows or it is alone on the first line."""
    first = text[: len(name) + 40].partition("\n")[0]
    whole_line = len(first) < len(text) and text[len(first)] == "\n"
    label = first if whole_line and ":" not in first else first.partition(":")[0]
    if label == first and not whole_line:
        return text
    if name_key(label) in {name_key(name), name_key(without_numbering(name)), *_LABELS}:
        return text[len(label) :].lstrip(":*_ \n").strip()
    return text


def _straight(text: str) -> str:
    return text.replace("’", "'")


def _characters(text: str, wanted: _Wanted) -> str:
    del wanted
    if not text:
        return "it is empty"
    odd = next((letter for letter in text if _is_odd(letter)), "")
    return f"it has the character U+{ord(odd):04X}, which no text has" if odd else ""


def _is_odd(letter: str) -> bool:
    return letter not in _JOINERS and letter != "\n" and unicodedata.category(letter).startswith("C")


def _markup(text: str, wanted: _Wanted) -> str:
    del wanted
    found = next((what for what, pattern in _MARKUP if pattern.search(text)), "")
    return f"it has {found}; plain sentences without any markup are wanted" if found else ""


def _paragraphs(text: str, wanted: _Wanted) -> str:
    del wanted
    count = text.count("\n\n") + 1
    return f"it has {count} paragraphs; one is wanted" if count > 1 else ""


def _refusal(text: str, wanted: _Wanted) -> str:
    del wanted
    found = _remark(text)
    return f"it speaks to the asker ({found!r}) instead of describing" if found else ""


def is_remark(text: str) -> bool:
    """Whether a text speaks to who asked: a refusal, an apology, a question, an introduction."""
    return bool(_remark(text))


def _remark(text: str) -> str:
    words = _straight(text)
    found = _REFUSALS.search(words) or _OPENERS.match(words)
    return found[0] if found else ""


def _addresses(text: str, wanted: _Wanted) -> str:
    del wanted
    return "it has the address of a page" if _ADDRESS.search(text) else ""


def _formula(text: str, wanted: _Wanted) -> str:
    del wanted
    return f"it begins with {text[0]!r}, as a spreadsheet's formula does" if text.startswith(_FORMULA) else ""


def _length(text: str, wanted: _Wanted) -> str:
    count = count_words(text)
    least, most = wanted.min_words * (1 - LENGTH_TOLERANCE), wanted.max_words * (1 + LENGTH_TOLERANCE)
    if least <= count <= most:
        return ""
    return f"it has {count} words; {wanted.min_words} to {wanted.max_words} are wanted"


def count_words(text: str) -> int:
    """Count what stands between spaces and has a letter or a digit."""
    return sum(any(map(str.isalnum, word)) for word in text.split())


def _whole(text: str, wanted: _Wanted) -> str:
    del wanted
    ends = text.rstrip(_AFTER_END).endswith(_ENDS)
    return "" if ends else "it breaks off in the middle of a sentence"


def _class(text: str, wanted: _Wanted) -> str:
    own = _spelled(wanted.name)
    words = _spelled(text)
    for other in wanted.others:
        theirs = _spelled(without_numbering(other))
        if theirs in own or own in theirs or set(theirs.split()) <= VISIBLE:
            continue
        if any(form in words for form in _forms(theirs)):
            return f"it names another class, {other!r}"
    return ""


def _spelled(text: str) -> str:
    """Words of letters and digits between single spaces, without case and accents, a space at both ends."""
    folded = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    plain = (letter if letter.isalnum() else " " for letter in folded if not unicodedata.combining(letter))
    return f" {' '.join(''.join(plain).split())} "


def _forms(words: str) -> tuple[str, ...]:
    """A name as it is, in the plural, and with its year in front, as texts on cars have it."""
    first, _, year = words.strip().rpartition(" ")
    forms = (words, f"{words[:-1]}s ", f"{words[:-1]}es ")
    return (*forms, f" {year} {first} ") if first and year.isdecimal() else forms


def _visible(text: str, wanted: _Wanted) -> str:
    del wanted
    words = plain_words(text)
    found, needed = len(visible_words(words)), VISIBLE_PER_50 * count_words(text) / 50
    if found < needed:
        return "it says too little of what can be seen: parts, colours, shapes, proportions and marks are wanted"
    sentences = _SENTENCE.split(text)
    other = sum(_is_on_other_things(sentence) for sentence in sentences)
    if 2 * other > len(sentences):
        return "most of its sentences are on habitat, range, history, behaviour or use; what can be seen is wanted"
    return ""


def _is_on_other_things(sentence: str) -> bool:
    words = plain_words(sentence)
    return bool(unseen_words(words)) and len(visible_words(words)) < VISIBLE_IN_SENTENCE


RULES: Final[dict[str, Callable[[str, _Wanted], str]]] = {
    "characters": _characters,
    "markup": _markup,
    "paragraphs": _paragraphs,
    "refusal": _refusal,
    "addresses": _addresses,
    "formula": _formula,
    "length": _length,
    "whole": _whole,
    "class": _class,
    "visible": _visible,
}
"""The rules, in their order; each takes a clean reply and returns a reason, or nothing."""
