"""Class names: reading lists of them, and matching two spellings of the same name.

Data sets and description files write one name in several ways (``001.Black_footed_Albatross`` and "Black footed
Albatross", ``FA-18`` and "F/A-18"), so names are compared by their letters and digits alone. Whatever does not match,
or matches twice, is an error: a text under the wrong class teaches the wrong thing without a sign.
"""

import codecs
import difflib
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from leadpp.errors import TextError
from leadpp.io.sizes import size_words

_NUMBERING = re.compile(r"\s*(?:n\d{8}[-_ ]|\d+[._)]\s*)(?=[^\W\d_])")
_FOLDED_SCRIPTS = ("LATIN", "GREEK", "CYRILLIC")
_LISTED = 5
_LONGEST = 200
"""Letters of a class name; longer ones are descriptions."""
_SHOWN = 40
_MOST_NAMES = 100_000
_MOST_BYTES = 1 << 28
_LOOKED_AT = 4096
_UNSEEN = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Unicode's categories of control characters, halves of letters, and ends of lines and paragraphs."""
_MARKS = {
    codecs.BOM_UTF8: "UTF-8",
    codecs.BOM_UTF32_LE: "UTF-32-LE",  # before UTF-16, whose mark it begins with
    codecs.BOM_UTF32_BE: "UTF-32-BE",
    codecs.BOM_UTF16_LE: "UTF-16-LE",
    codecs.BOM_UTF16_BE: "UTF-16-BE",
}
_BINARY = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"PK\x03\x04", b"%PDF", b"\x1f\x8b", b"PAR1")


def name_key(name: str) -> str:
    """Reduce a name to what identifies it: its letters and digits, without case and accents.

    Accents are folded where they decorate a letter (Latin, Greek, Cyrillic) and kept where they are one (vowel signs of
    Indic scripts, the voicing marks of Japanese).

    >>> name_key("F/A-18"), name_key("Clark's Nutcracker"), name_key("Citroën_DS")
    ('fa18', 'clarksnutcracker', 'citroends')
    """
    kept: list[str] = []
    folds = False
    for letter in unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", name).casefold()):
        if letter.isalnum():
            folds = unicodedata.name(letter, "").startswith(_FOLDED_SCRIPTS)
            kept.append(_without_stroke(letter) if folds else letter)
        elif unicodedata.category(letter).startswith("M") and kept and not folds:
            kept.append(letter)
    return "".join(kept)


def _without_stroke(letter: str) -> str:
    """Letters such as the o with a stroke have no decomposition; their Unicode name says what they are made of."""
    try:
        return unicodedata.lookup(unicodedata.name(letter).split(" WITH ")[0])
    except KeyError:
        return letter


def without_numbering(name: str) -> str:
    """Drop a numbering in front of a name: ``001.``, ``17_``, ``3) `` or ``n02085620-``, if letters follow.

    Numbers that belong to a name stay: they are followed by a space, a hyphen, a slash or more digits.

    >>> without_numbering("n02085620-Chihuahua"), without_numbering("747-100"), without_numbering("2012 Audi A4")
    ('Chihuahua', '747-100', '2012 Audi A4')
    """
    return _NUMBERING.sub("", name, count=1) if _NUMBERING.match(name) else name


def read_names(path: Path) -> tuple[str, ...]:
    """Read a list of names, one a line, in any encoding of :func:`read_words`; blank lines are skipped.

    Raises:
        TextError: Missing, not text, without any name, with the same name twice, or with something that is no name:
            control characters, a description, JSON, a table of descriptions.
    """
    words = read_words(path)
    if path.suffix.lower() == ".json" or _is_table(words):
        raise TextError(f"{path}: expected one class name a line, found descriptions; give them with --descriptions")
    names = tuple(name for line in words.split("\n") if (name := line.strip()))
    if not names:
        raise TextError(f"{path}: expected one class name a line, found none; write the names into it")
    if len(names) > _MOST_NAMES:
        raise TextError(f"{path}: expected at most {_MOST_NAMES:,} class names, found {len(names):,} lines")
    check_names(names, what=f"{path}: names")
    return names


def _is_table(words: str) -> bool:
    """Tell from the first line whether it is the header of a table of descriptions."""
    first = words.lstrip().partition("\n")[0]
    return {name_key(title) for title in re.split("[,;\t]", first)} >= {"classname", "description"}


def read_words(path: Path) -> str:
    """Read a text file whole, UTF-8, or UTF-16 or UTF-32 with a byte order mark; lines end by a single newline.

    Raises:
        TextError: Missing, a folder, of another encoding, no text at all, or larger than any list of words.
    """
    try:
        if (size := path.stat().st_size) > _MOST_BYTES:
            raise TextError(f"{path}: expected a text file, found {size_words(size)}; give the path of a list of words")
        content = path.read_bytes()
    except OSError as error:
        raise TextError(f"{path}: cannot be read ({error.strerror}); give the path of a text file") from error
    words = _decode(path, content)
    if "\0" in words:
        found = "a zip archive or a spreadsheet" if content.startswith(b"PK") else "zero bytes, as in a picture"
        raise TextError(f"{path}: expected text, found {found}; save the words as UTF-8 text or CSV")
    return words.replace("\r\n", "\n").replace("\r", "\n")


def _decode(path: Path, content: bytes) -> str:
    mark = next((mark for mark in _MARKS if content.startswith(mark)), b"")
    encoding = _MARKS.get(mark, "UTF-8")
    try:
        return content.removeprefix(mark).decode(encoding)
    except UnicodeDecodeError as error:
        if not mark and (content.startswith(_BINARY) or b"\0" in content[:_LOOKED_AT]):
            raise TextError(
                f"{path}: expected text, found a picture, an archive or another file that is none; "
                "give the path of a text file"
            ) from error
        raise TextError(
            f"{path}: expected {encoding} text, found byte {error.object[error.start]:#04x} at {error.start}, line "
            f"{error.object[: error.start].count(10) + 1}; save the file as UTF-8"
        ) from error


def is_text(words: str) -> bool:
    """Return whether words can be written: JSON may hold half a letter, a lone surrogate, which no file takes."""
    try:
        words.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_names(names: Sequence[str], *, what: str) -> None:
    """Refuse what is no list of class names: a control character or line break in one, a text, or one name twice.

    Raises:
        TextError: The first that is odd; ``what`` begins the message.
    """
    for name in names:
        odd = next((letter for letter in name if letter != "\t" and unicodedata.category(letter) in _UNSEEN), None)
        if odd is not None:
            raise TextError(
                f"{what}: {name[:_SHOWN]!r} holds {odd!r}, a control character or line break; remove it from the name"
            )
        if len(name) > _LONGEST:
            raise TextError(
                f"{what}: {name[:_SHOWN]!r}... has {len(name):,} letters, expected at most {_LONGEST}; "
                "give descriptions with --descriptions"
            )
    check_distinct(names, what=what)


def check_distinct(names: Sequence[str], *, what: str) -> None:
    """Refuse names that are one name when only letters and digits count, and names without any.

    Raises:
        TextError: Two names collide, or a name has neither letters nor digits; ``what`` begins the message.
    """
    seen: dict[str, str] = {}
    for name in names:
        key = name_key(name)
        if not key:
            raise TextError(f"{what}: {name!r} has neither letters nor digits; write the name in letters")
        if key in seen:
            raise TextError(
                f"{what}: {seen[key]!r} and {name!r} are the same by letters and digits; keep one or rename one"
            )
        seen[key] = name


def match_names(
    names: Sequence[str], classes: Sequence[str], *, mode: Literal["exact", "subset"] = "exact"
) -> tuple[int, ...]:
    """Find for each class the name that means it.

    A name and a class match if their letters and digits are equal, either as they are or, failing that, without their
    numbering. With ``exact`` each name needs a class and each class a name; with ``subset`` names without a class are
    left out.

    Returns:
        One number a class: ``names[order[i]]`` belongs to ``classes[i]``.

    Raises:
        TextError: Something is left unmatched (with the closest spellings), or two names mean one class or one name
            two classes (naming both).
    """
    check_distinct(names, what="texts")
    check_distinct(classes, what="classes")
    index = _class_keys(classes)
    owner: dict[int, int] = {}
    strangers: list[int] = []
    for position, name in enumerate(names):
        found = _find_class(name, index, classes)
        if found is None:
            strangers.append(position)
        elif found in owner:
            raise TextError(
                f"{names[owner[found]]!r} and {name!r} both match the class {classes[found]!r} by letters and digits; "
                "keep one of the two texts"
            )
        else:
            owner[found] = position
    missing = [label for number, label in enumerate(classes) if number not in owner]
    extra = [names[position] for position in strangers] if mode == "exact" else []
    if missing or extra:
        raise TextError(_describe(missing, extra, names=names, classes=classes))
    return tuple(owner[number] for number in range(len(classes)))


_Keys = tuple[dict[str, int], dict[str, list[int]]]


def _class_keys(classes: Sequence[str]) -> _Keys:
    """Classes by their full key (distinct by now), and by their key without numbering (perhaps shared)."""
    bare: dict[str, list[int]] = {}
    for number, label in enumerate(classes):
        bare.setdefault(name_key(without_numbering(label)), []).append(number)
    return {name_key(label): number for number, label in enumerate(classes)}, bare


def _find_class(name: str, index: _Keys, classes: Sequence[str]) -> int | None:
    full, bare = index
    keys = (name_key(name), name_key(without_numbering(name)))
    for key in keys:
        if key in full:
            return full[key]
        candidates = bare.get(key, [])
        if len(candidates) > 1:
            first, second = (classes[number] for number in candidates[:2])
            raise TextError(f"{name!r} matches both {first!r} and {second!r}, which differ in their numbering alone")
        if candidates:
            return candidates[0]
    return None


def closest(name: str, among: Sequence[str], *, count: int = 2) -> list[str]:
    """Return the most alike of ``among`` by letters and digits, best first; empty if none is alike."""
    by_key = {name_key(without_numbering(other)): other for other in among}
    keys = difflib.get_close_matches(name_key(without_numbering(name)), by_key, n=count, cutoff=0.5)
    return [by_key[key] for key in keys]


def _describe(missing: Sequence[str], extra: Sequence[str], *, names: Sequence[str], classes: Sequence[str]) -> str:
    parts = []
    if missing:
        parts.append(f"{len(missing)} of {len(classes)} classes have no text: {_listing(missing, among=names)}")
    if extra:
        parts.append(f"{len(extra)} of {len(names)} names have no class: {_listing(extra, among=classes)}")
    remedies = ["correct the spelling"]
    if missing:
        remedies.append("add what is missing")
    else:
        remedies.append("give --text.match subset (extra names are dropped)")
    return f"{'; '.join(parts)}; {', '.join(remedies)}, or give --text.match free (a vocabulary of its own)"


def _listing(odd: Sequence[str], *, among: Sequence[str]) -> str:
    shown = []
    for name in odd[:_LISTED]:
        near = closest(name, among)
        shown.append(f"{name!r} (closest: {', '.join(map(repr, near))})" if near else f"{name!r} (nothing close)")
    return ", ".join(shown) + (f" and {len(odd) - _LISTED} more" if len(odd) > _LISTED else "")
