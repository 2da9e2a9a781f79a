"""The stage that turns names, descriptions or ready vectors into the run's prototypes, in the space of each teacher."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from leadpp.config.tree import Config, TeacherConfig
from leadpp.data.index import ImageIndex
from leadpp.engine.determinism import deterministic_if_asked
from leadpp.engine.runtime import Progress, SilentProgress, pick_device
from leadpp.errors import ArtifactError, TextError
from leadpp.io.artifacts import file_digest
from leadpp.models.teacher import Teacher, load_teachers
from leadpp.text.confusable import indistinct_pairs, tell_of_pairs
from leadpp.text.descriptions import read_descriptions, write_descriptions
from leadpp.text.encoding import EncodedTexts, average_texts, encode_texts, fill_template, mix_vectors
from leadpp.text.exchange import open_spaces, pick_space, write_reference_prototypes
from leadpp.text.names import match_names, read_names
from leadpp.text.prototypes import Prototypes, write_prototypes
from leadpp.text.provenance import read_provenance

_Texts = dict[str, tuple[str, ...]]
_FATES = {
    "split": "split and averaged",
    "truncate": "truncated",
    "summary": "shortened to the sentences that fit and are most like the whole",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class _Words:
    """What the classes are said to be, and how that came to be."""

    texts: _Texts
    """The texts of each class."""
    made: str
    template: str | None = None
    sentences: _Texts = field(default_factory=dict)
    """Sentences around the names, to be mixed with the texts; empty where nothing is."""


@deterministic_if_asked
def build_prototypes(
    *,
    index: ImageIndex,
    run: Path,
    config: Config,
    names: Path | None = None,
    descriptions: Path | None = None,
    prototypes: Path | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Make the prototypes of a run and write ``prototypes.safetensors``, and ``descriptions.csv`` if there are texts.

    One source is used: ready ``prototypes`` (the reference's ``.pt`` or leadpp's ``.safetensors``), ``descriptions``, a
    list of ``names``, or, with none of them, the class names of labelled data; names become sentences by
    ``text.template``. ``names`` may also name the rows of ``prototypes`` that hold none. Where the data are labelled,
    names are matched to classes as ``text.match`` says, and the prototypes are brought into the order of the classes.
    The prototype of a class with several texts is the unit mean of theirs; with ``text.mix`` that of its descriptions
    and that of its name are mixed. Every teacher reads the same words, and has a space of its own in the file.

    Classes that a teacher cannot tell apart by its prototypes (:mod:`leadpp.text.confusable`) are told of.

    Returns:
        ``classes``, ``names_known`` and, of the first space, ``dim``, ``model`` and ``indistinct_pairs`` (how many the
        teacher cannot tell apart); where texts were encoded, also how many ``texts`` and ``pieces`` of them and, if the
        text tower counts, ``longest_tokens``. With several teachers ``spaces`` has the same figures of each.

    Raises:
        TextError: No source or more than one, a malformed file, or names that do not match the classes.
        WeightsError: The teacher's weights are not to be had.
    """
    progress = progress or SilentProgress()
    counts: list[dict[str, int]] = []
    if prototypes is not None:
        if descriptions is not None:
            raise TextError("give either descriptions or prototypes, not both")
        spaces = _arrange(open_spaces(prototypes, names=names), index=index, match=config.text.match)
        _tell_of_ready(spaces, config, progress)
    else:
        words = _gather(index=index, config=config, names=names, descriptions=descriptions, progress=progress)
        spaces, counts = _encode(_select(words, index, config.text.match), config=config, progress=progress)
    if len(spaces[0].vectors) < 2:
        raise TextError("found one prototype; at least two are needed, because with one there is nothing to tell apart")
    _write(run, spaces)
    return _results(spaces, counts, config=config, progress=progress)


def check_texts(
    *,
    index: ImageIndex,
    config: Config,
    names: Path | None = None,
    descriptions: Path | None = None,
    prototypes: Path | None = None,
) -> None:
    """Read what :func:`build_prototypes` would read, and match it to the classes, without loading the teacher.

    Raises:
        TextError: As :func:`build_prototypes`.
    """
    if prototypes is not None:
        if descriptions is not None:
            raise TextError("give either descriptions or prototypes, not both")
        _arrange(open_spaces(prototypes, names=names), index=index, match=config.text.match)
    else:
        words = _gather(index=index, config=config, names=names, descriptions=descriptions, progress=SilentProgress())
        _select(words, index, config.text.match)


def export_prototypes(
    source: Path,
    out: Path,
    *,
    dtype: Literal["float16", "float32"] = "float16",
    space: int = 1,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Write prototypes as the reference's ``.pt``: one bare tensor, with the names in a list beside it.

    Args:
        source: A run folder, or a file of prototypes.
        out: The ``.pt`` file to write.
        dtype: Of the tensor; the reference's is float16.
        space: Which teacher's, counted from 1.
        overwrite: Whether files that are there may be replaced.

    Returns:
        ``prototypes`` (the file), ``names`` (the list, or None), ``classes``, ``dim``, ``dtype`` and ``model``.

    Raises:
        TextError: The source holds no prototypes or no such space.
        ArtifactError: A file cannot be read or written, or is there already.
    """
    if out.exists() and not overwrite:
        raise ArtifactError(f"{out}: there is such a file already; give another name, or --overwrite to replace it")
    found = pick_space(open_spaces(source), space, source=source)
    lines = write_reference_prototypes(out, found, dtype=dtype)
    return {
        "prototypes": str(out),
        "names": None if lines is None else str(lines),
        "classes": len(found.vectors),
        "dim": found.dim,
        "dtype": dtype,
        "model": found.model,
    }


def _results(
    spaces: Sequence[Prototypes], counts: Sequence[dict[str, int]], *, config: Config, progress: Progress
) -> dict[str, Any]:
    each = [
        {"dim": space.dim, "model": space.model, "indistinct_pairs": _tell_of_likeness(space, config, progress)} | own
        for space, own in zip(spaces, counts or [{}] * len(spaces), strict=True)
    ]
    shared = {"classes": len(spaces[0].vectors), "names_known": spaces[0].names is not None}
    return shared | each[0] | ({"spaces": each} if len(each) > 1 else {})


def _tell_of_likeness(space: Prototypes, config: Config, progress: Progress) -> int:
    """Say, in one note, which classes the teacher cannot tell apart, and return how many pairs there are."""
    usual = Config().loss.distillation_temperature
    temperature = space.temperature or config.loss.distillation_temperature or usual
    pairs = indistinct_pairs(space, temperature=temperature)
    if pairs:
        progress.note(tell_of_pairs(pairs, model=space.model, temperature=temperature))
    return len(pairs)


def _tell_of_ready(spaces: Sequence[Prototypes], config: Config, progress: Progress) -> None:
    if spaces[0].made:
        progress.note(f"prototypes: {spaces[0].made}")
    if config.text.names_share:
        progress.note("text.mix has no effect on ready prototypes")


def _write(run: Path, spaces: Sequence[Prototypes]) -> None:
    write_prototypes(run / "prototypes.safetensors", *spaces)
    table = run / "descriptions.csv"
    first = spaces[0]
    if first.texts is not None and first.names is not None:
        write_descriptions(table, dict(zip(first.names, first.texts, strict=True)))
    else:
        table.unlink(missing_ok=True)


def _arrange(spaces: Sequence[Prototypes], *, index: ImageIndex, match: str) -> tuple[Prototypes, ...]:
    """Bring ready prototypes into the order of the classes, as far as names and classes are known."""
    first = spaces[0]
    if not index.labelled or match == "free":
        return tuple(spaces)
    if first.names is not None:
        order = _match(first.names, index, match)
        return tuple(space.ordered(order).named(index.classes) for space in spaces)
    if len(first.vectors) != len(index.classes):
        raise TextError(
            f"the data have {len(index.classes)} classes, but there are {len(first.vectors)} prototypes, and their "
            "file has no names; give the prototypes of these classes, give --names, or set text.match to free"
        )
    return tuple(spaces)


def _gather(
    *, index: ImageIndex, config: Config, names: Path | None, descriptions: Path | None, progress: Progress
) -> _Words:
    """Texts by name, and what is to be recorded about how they came to be."""
    template, templates = config.text.template, config.text.templates
    if descriptions is not None:
        if names is not None:
            raise TextError("give either names or descriptions, not both; descriptions hold the names")
        made = f"descriptions {descriptions.name} (BLAKE2b {file_digest(descriptions)})"
        if origin := read_provenance(descriptions):
            made = f"{made}, {origin}"
        texts = read_descriptions(descriptions, notify=progress.note)
        if not config.text.names_share:
            return _Words(texts=texts, made=made)
        return _Words(texts=texts, made=made, template=template, sentences=_sentences(tuple(texts), templates))
    if config.text.names_share:
        progress.note("text.mix has no effect on names alone: there are no descriptions to mix their sentences with")
    if names is not None:
        known, made = read_names(names), f"names {names.name} (BLAKE2b {file_digest(names)})"
    elif index.labelled:
        known, made = index.classes, "class names of the data"
    else:
        raise TextError(
            f"{index.root} has no labels, so there are no class names to make prototypes of; "
            "give --names, --descriptions or --prototypes, or set teacher.use to no"
        )
    return _Words(texts=_sentences(known, templates), made=made, template=template)


def _sentences(names: Sequence[str], templates: Sequence[str]) -> _Texts:
    return {name: tuple(fill_template(template, name) for template in templates) for name in names}


def _select(words: _Words, index: ImageIndex, match: str) -> _Words:
    """Texts under the true class names and in their order, or as they are where there is nothing to match."""
    if not index.labelled or match == "free":
        return words
    order = _match(tuple(words.texts), index, match)
    texts, sentences = (_reordered(each, order, index.classes) for each in (words.texts, words.sentences))
    return replace(words, texts=texts, sentences=sentences)


def _reordered(texts: _Texts, order: Sequence[int], classes: Sequence[str]) -> _Texts:
    known = tuple(texts.values())
    return {label: known[place] for label, place in zip(classes, order, strict=True)} if known else {}


def _match(names: tuple[str, ...], index: ImageIndex, match: str) -> tuple[int, ...]:
    return match_names(names, index.classes, mode="subset" if match == "subset" else "exact")


def _encode(
    words: _Words, *, config: Config, progress: Progress
) -> tuple[tuple[Prototypes, ...], list[dict[str, int]]]:
    """Have each teacher read the words; return a space and the counts of what was read, one a teacher."""
    made = []
    for teacher in _teachers(config.teacher):
        teacher.to(pick_device(config.train.device))
        made.append(_space(teacher, words, config=config, progress=progress))
    texts = sum(map(len, words.texts.values()))
    if texts > len(words.texts):
        progress.note(f"{texts} texts for {len(words.texts)} classes: those of a class are averaged")
    return tuple(space for space, _ in made), [_counts(encoded) for _, encoded in made]


def _space(teacher: Teacher, words: _Words, *, config: Config, progress: Progress) -> tuple[Prototypes, EncodedTexts]:
    encoded = _read(words.texts, teacher, config=config, progress=progress)
    counts = [len(own) for own in words.texts.values()]
    vectors, share = average_texts(encoded.vectors, counts), 0.0
    if words.sentences:
        share = config.text.names_share
        named = _read(words.sentences, teacher, config=config, progress=progress)
        averaged = average_texts(named.vectors, [len(own) for own in words.sentences.values()])
        vectors = mix_vectors(vectors, averaged, share=share)
    temperature = getattr(teacher, "temperature", None)  # one of one's own need not have any
    made = Prototypes(
        vectors=vectors,
        names=tuple(words.texts),
        texts=tuple(words.texts.values()),
        model=teacher.name,
        made=words.made,
        long_text=config.text.long,
        template=words.template,
        names_share=share,
        read_texts=None if encoded.shortened is None else _grouped(encoded.shortened, counts),
        temperature=None if temperature is None else float(temperature),
    )
    made.check_width(teacher.embedding_dim, of=f"the image tower of {teacher.name}")
    return made, encoded


def _read(words: _Texts, teacher: Teacher, *, config: Config, progress: Progress) -> EncodedTexts:
    texts = [text for own in words.values() for text in own]
    encoded = encode_texts(
        texts,
        encoder=teacher,
        long_text=config.text.long,
        track=lambda starts: progress.track(starts, total=len(starts), what="encode texts", unit="batches"),
    )
    if encoded.long_texts:
        fate = _FATES[config.text.long]
        progress.note(f"{encoded.long_texts} of {len(texts)} texts are longer than {teacher.name} reads: {fate}")
    return encoded


def _grouped(texts: Sequence[str], counts: Sequence[int]) -> tuple[tuple[str, ...], ...]:
    """Give each class its texts again."""
    following = iter(texts)
    return tuple(tuple(itertools.islice(following, count)) for count in counts)


def _counts(encoded: EncodedTexts) -> dict[str, int]:
    longest = {} if encoded.longest_tokens is None else {"longest_tokens": encoded.longest_tokens}
    return {"texts": len(encoded.vectors), "pieces": encoded.pieces, **longest}


def _teachers(settings: TeacherConfig) -> tuple[Teacher, ...]:
    return load_teachers(
        models=settings.models,
        model=settings.model,
        pretrained=settings.pretrained,
        factory=settings.factory,
        normalization=settings.normalization,
    )
