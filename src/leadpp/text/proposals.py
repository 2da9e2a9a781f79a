"""Names that a language model proposes: read from whatever form they come in, each thing once.

Shape letters: N names, D embedding.
"""

import json
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from leadpp.text.encoding import TextEncoder, fill_template
from leadpp.text.names import name_key
from leadpp.text.prototypes import unit_rows
from leadpp.text.replies import is_remark, without_thoughts

MOST_LETTERS: Final = 80
"""Characters of a name; what is longer is a sentence."""
MOST_WORDS: Final = 9
"""Words of a name; what has more is a sentence."""
_WORDS_BEFORE_STOP: Final = 5
"""Words of a name that ends with a full stop."""

_BULLET: Final = r"[-+*\u2022\u00b7\u25aa\u25e6\u2023\u2013\u2014]+"
_NUMBER: Final = r"\(?\d{1,4}[.):]|#?\d{1,4}\s?[-\u2013\u2014|](?=\s)"
_MARKS: Final = re.compile(rf"[\s>|\[]*(?:(?:{_BULLET}|{_NUMBER})(?:\s+|(?=[^\W\d]|[*_\"'])))*")
"""What stands in front of an item of a list: bullets, numbers, quotation and table marks, in any order."""
_AFTER: Final = re.compile(r"\s(?:[-\u2013\u2014:=]|->)\s|:\s|\s?\|")
"""What comes after a name: an explanation behind a dash or a colon, or the next cell of a table."""
_REMARK: Final = re.compile(r"\s?[(\[][^()\[\]\d]*[)\]]$")
"""A remark in brackets at the end, such as a Latin name; one with a digit may be what tells two models apart."""
_BETWEEN: Final = re.compile(r"\s?[,;\u3001\uff0c\uff1b]\s?")
_EXPLAINING: Final = re.compile(r"(?:an?|the|with|which|that|its?|also|known|found|or)\s")
"""How what follows a name after a comma begins if it is no other name: "Wren, a small brown bird"."""
_JOINED: Final = re.compile(r"(?:and|or|&)\s", re.IGNORECASE)
_AROUND: Final = " \"'`*_~.,;\u2018\u2019\u201c\u201d\u201e\u00ab\u00bb"
_NEVER_IN_NAMES: Final = frozenset('{}[]<>|\\"?!')
_FORMULA: Final = ("=", "+", "-", "@")
_LEAST_IN_GROUP: Final = 3
_TITLES: Final = frozenset({"name", "names", "commonname", "species", "class"})
"""Heads of tables."""
_ARTICLE: Final = re.compile(r"(?:the|an?)\s+", re.IGNORECASE)
_NO_PLURAL: Final = ("ss", "us", "is", "as", "os")
_PLURALS: Final = ("ches", "shes", "sses", "xes", "zes")
_SHORTEST_PLURAL: Final = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Dropped:
    """A proposal that is not taken, because it is there already."""

    name: str
    reason: str
    like: str
    """The name that is there."""


def read_proposals(text: str, *, complete: bool = True) -> list[str]:
    """Read the names in a reply, in their order and as often as they stand there.

    JSON is read as such wherever it stands: a list of strings or of objects with a name, or an object by its lists or,
    where it has none, by its keys. In anything else each line is an item, whatever bullet or number is in front, up to
    a dash, a colon or a tab. A line of several things between commas is divided, where there are three at least, or two
    in a reply of one line, unless what follows the first explains it ("Wren, a small brown bird"). Marks of emphasis,
    quotation marks and remarks in brackets without a digit fall away. What is no name is left out: headings, sentences,
    introductions, refusals, formulas, bare numbers.

    Args:
        text: What the model answered; what it thought aloud is not read.
        complete: False if the reply was cut off; its last item is then half a name, and left out.

    Returns:
        Clean names of one line each, composed (NFC), of at most 80 characters and nine words.
    """
    text = without_thoughts(text)
    items = _json_items(text)
    if items is None:
        items = list(_line_items(text))
        items = items if complete else items[:-1]
    return [name for item in items if (name := _clean(item))]


def class_key(name: str) -> str:
    """Reduce a name to what makes it one with another: letters and digits, without article and plural.

    >>> class_key("The Red-tailed Hawks"), class_key("red tailed hawk"), class_key("Finches"), class_key("Audi TTS")
    ('redtailedhawk', 'redtailedhawk', 'finch', 'auditts')
    """
    key = name_key(_ARTICLE.sub("", name.strip(), count=1))
    last = re.split(r"[\s_-]", name.strip())[-1]
    plural = last.endswith("s") and last.isascii() and last.isalpha() and len(last) >= _SHORTEST_PLURAL
    if not plural or key.endswith(_NO_PLURAL):
        return key
    if key.endswith("ies"):
        return f"{key[:-3]}y"
    return key[:-2] if key.endswith(_PLURALS) else key[:-1]


def sort_proposals(proposed: Sequence[str], *, known: Sequence[str]) -> tuple[list[str], list[Dropped]]:
    """Divide proposals into new names and those that are there already, by :func:`class_key`.

    Args:
        proposed: Names, in their order.
        known: Names that are there already.

    Returns:
        New names, each once, and the others.
    """
    keys = {class_key(name): name for name in known}
    new: list[str] = []
    dropped: list[Dropped] = []
    for name in proposed:
        key = class_key(name)
        if key in keys:
            dropped.append(Dropped(name=name, reason="the same name", like=keys[key]))
        else:
            keys[key] = name
            new.append(name)
    return new, dropped


class Closeness:
    """Tells names apart by a text tower, and remembers what it has read.

    Each name stands in the sentence with which it would become a prototype. Two whose digits differ, as those of
    "737-300" and "737-400" do, are never taken for one, however close they are.
    """

    def __init__(self, encoder: TextEncoder, *, template: str, least_cosine: float) -> None:
        """Remember nothing yet.

        Args:
            encoder: The text tower.
            template: The sentence; ``{}`` is the name.
            least_cosine: Cosine of two sentences from which on they are one.
        """
        self._encoder, self._template, self._least_cosine = encoder, template, least_cosine
        self._rows: dict[str, Tensor] = {}

    def sort(self, proposed: Sequence[str], *, known: Sequence[str]) -> tuple[list[str], list[Dropped]]:
        """Divide proposals into new names and those that are close to one that is there, or came before.

        Args:
            proposed: Names, in their order.
            known: Names that are there already.

        Returns:
            New names, and the others with what each is closest to.

        Raises:
            TextError: The tower answers with vectors that have no direction.
        """
        self._read([*known, *proposed])
        kept = list(known)
        dropped: list[Dropped] = []
        for name in proposed:
            rivals = [other for other in kept if _digits(other) == _digits(name)]
            cosines = [float(self._rows[name] @ self._rows[other]) for other in rivals]
            closest = max(range(len(rivals)), key=cosines.__getitem__, default=None)
            if closest is not None and cosines[closest] >= self._least_cosine:
                reason = f"close in meaning, cosine {cosines[closest]:.3f}"
                dropped.append(Dropped(name=name, reason=reason, like=rivals[closest]))
            else:
                kept.append(name)
        return kept[len(known) :], dropped

    def _read(self, names: Sequence[str]) -> None:
        new = [name for name in dict.fromkeys(names) if name not in self._rows]
        if new:
            vectors = self._encoder.encode_texts([fill_template(self._template, name) for name in new])
            self._rows |= dict(zip(new, unit_rows(vectors.detach().cpu().to(torch.float64)), strict=True))


class Roll:
    """Names that were taken, and what became of the others, round by round.

    Attributes:
        names: Those that were taken, in their order.
        rounds: For each round how many names were ``read`` and how many of them were ``new``.
        dropped: The others, each with the number of its round, from 1.
        barren: How many of the last rounds brought nothing new.
    """

    def __init__(self, closeness: Closeness | None) -> None:
        """Begin without a name.

        Args:
            closeness: Compares names by their meaning; without it they are compared by letters alone.
        """
        self.names: list[str] = []
        self.rounds: list[dict[str, int]] = []
        self.dropped: list[tuple[int, Dropped]] = []
        self.barren = 0
        self._closeness = closeness

    def add(self, proposed: Sequence[str]) -> None:
        """Take what is new in a round.

        Raises:
            TextError: The text tower answers with vectors that have no direction.
        """
        new, dropped = sort_proposals(proposed, known=self.names)
        if self._closeness:
            new, close = self._closeness.sort(new, known=self.names)
            dropped += close
        self.names += new
        self.rounds.append({"read": len(proposed), "new": len(new)})
        self.dropped += [(len(self.rounds), one) for one in dropped]
        self.barren = 0 if new else self.barren + 1


def general_names(names: Sequence[str]) -> dict[str, str]:
    """Find names that are the end of another, as "Kestrel" is of "American Kestrel": a group beside its member.

    Returns:
        For each such name the first that ends with it.
    """
    words = {name: tuple(map(name_key, re.split(r"[\s_-]+", name))) for name in names}
    ends: dict[tuple[str, ...], str] = {}
    for name, own in words.items():
        for start in range(1, len(own)):
            ends.setdefault(own[start:], name)
    return {name: ends[own] for name, own in words.items() if own in ends}


def _json_items(text: str) -> list[str] | None:
    """Read the JSON in a text, between its first and its last bracket or brace; None where there is none."""
    for opening, closing in ("[]", "{}"):
        first, last = text.find(opening), text.rfind(closing)
        if 0 <= first < last:
            try:
                return list(_names_in(json.loads(text[first : last + 1])))
            except (ValueError, RecursionError):
                continue
    return None


def _names_in(content: object) -> Iterator[str]:
    if isinstance(content, str):
        yield content
    elif isinstance(content, list):
        for item in content:
            yield from _names_in(_name_of(item))
    elif isinstance(content, Mapping):
        lists = [value for value in content.values() if isinstance(value, list)]
        yield from _names_in([item for one in lists for item in one] if lists else list(content))


def _name_of(item: object) -> object:
    """Return the name of an object that has one, and anything else as it is."""
    if not isinstance(item, Mapping):
        return item
    named = [value for key, value in item.items() if "name" in key.lower() or key.lower() in _TITLES]
    return next((value for value in (*named, *item.values()) if isinstance(value, str)), None)


def _line_items(text: str) -> Iterator[str]:
    lines = [plain for line in text.splitlines() if (plain := " ".join(line.replace("\t", " | ").split()))]
    least = 2 if len(lines) == 1 else 3
    for line in lines:
        item = _without_introduction(line)
        if item.startswith("#") or item.rstrip("*_ ").endswith(":"):
            continue
        marks = _MARKS.match(item)
        yield from _things_in(item[marks.end() :] if marks else item, least=least)


def _things_in(item: str, *, least: int) -> list[str]:
    """Divide an item at its commas if it is a list of at least so many; a group's name in front of it falls away."""
    head, *rest = _AFTER.split(item, maxsplit=1)
    group = _parts(rest[0]) if rest else []
    if len(group) >= _LEAST_IN_GROUP and not any(_begins_small(part) for part in group):
        return group
    parts = _parts(head)
    explained = any(map(_EXPLAINING.match, parts[1:])) or len(parts) < least
    if explained and len({_begins_small(part) for part in parts}) > 1:
        return parts[:1]
    return parts if len(parts) >= least or len(parts) == 1 else [head]


def _parts(words: str) -> list[str]:
    parts = [_JOINED.sub("", part, count=1) if _JOINED.match(part) else part for part in _BETWEEN.split(words)]
    return [part for part in parts if part]


def _begins_small(part: str) -> bool:
    return part.lstrip(_AROUND)[:1].islower()


def _without_introduction(line: str) -> str:
    """Return what an introduction introduces in the same line: "Here are three: Wren, Auk, Tern"."""
    if not is_remark(line):
        return line
    return next((line.partition(mark)[2].strip() for mark in ": ! ".split() if mark in line), "")


def _clean(item: str) -> str:
    """Return the name in an item, or nothing if there is none."""
    if len(item) > 3 * MOST_LETTERS and not _AFTER.search(item[: 3 * MOST_LETTERS]):
        return ""
    stopped = item.rstrip().endswith(".") and len(item.split()) > _WORDS_BEFORE_STOP
    name = _AFTER.split(item.strip(_AROUND), maxsplit=1)[0][: 3 * MOST_LETTERS]
    name = unicodedata.normalize("NFC", _REMARK.sub("", name.strip(_AROUND)).strip(_AROUND))
    name = " ".join(name.split())
    if stopped or len(name) > MOST_LETTERS or len(name.split()) > MOST_WORDS or not name.isprintable():
        return ""
    if name.endswith(":") or name.startswith(_FORMULA) or _NEVER_IN_NAMES & set(name) or is_remark(name):
        return ""
    key = name_key(name)
    return "" if not key or name.isdecimal() or key in _TITLES else name


def _digits(name: str) -> str:
    return "".join(letter for letter in name if letter.isdigit())
