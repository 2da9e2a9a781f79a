"""The stage that turns names, descriptions or ready vectors into the run's prototypes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from leadpp.config.tree import Config, TeacherConfig
from leadpp.data.index import ImageIndex
from leadpp.engine.runtime import Progress, SilentProgress, pick_device
from leadpp.errors import TextError
from leadpp.io.artifacts import file_digest
from leadpp.models.teacher import Teacher, load_teacher
from leadpp.text.descriptions import read_descriptions, write_descriptions
from leadpp.text.encoding import EncodedTexts, average_texts, encode_texts, fill_template
from leadpp.text.names import match_names, read_names
from leadpp.text.prototypes import Prototypes, read_prototypes, read_reference_prototypes, write_prototypes
from leadpp.text.provenance import read_provenance

REFERENCE_SUFFIXES = (".pt", ".pth")


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
    The prototype of a class with several descriptions is the unit mean of theirs.

    Returns:
        ``classes``, ``dim``, ``model`` and ``names_known``; where texts were encoded, also how many ``texts`` and
        ``pieces`` of them and, if the text tower counts, ``longest_tokens``.

    Raises:
        TextError: No source or more than one, a malformed file, or names that do not match the classes.
        WeightsError: The teacher's weights are not to be had.
    """
    progress = progress or SilentProgress()
    encoded: EncodedTexts | None = None
    if prototypes is not None:
        if descriptions is not None:
            raise TextError("give either descriptions or prototypes, not both")
        made = _arrange(_read(prototypes, names), index=index, match=config.text.match)
    else:
        words, plan = _gather(index=index, config=config, names=names, descriptions=descriptions, progress=progress)
        made, encoded = _encode(_select(words, index, config.text.match), plan=plan, config=config, progress=progress)
    if len(made.vectors) < 2:
        raise TextError("found one prototype; at least two are needed, because with one there is nothing to tell apart")
    _write(run, made)
    results = {
        "classes": len(made.vectors),
        "dim": made.dim,
        "model": made.model,
        "names_known": made.names is not None,
    }
    return results | _counts(encoded)


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
        _arrange(_read(prototypes, names), index=index, match=config.text.match)
    else:
        words, _ = _gather(
            index=index, config=config, names=names, descriptions=descriptions, progress=SilentProgress()
        )
        _select(words, index, config.text.match)


def _counts(encoded: EncodedTexts | None) -> dict[str, int]:
    if encoded is None:
        return {}
    longest = {} if encoded.longest_tokens is None else {"longest_tokens": encoded.longest_tokens}
    return {"texts": len(encoded.vectors), "pieces": encoded.pieces, **longest}


def _write(run: Path, made: Prototypes) -> None:
    write_prototypes(run / "prototypes.safetensors", made)
    table = run / "descriptions.csv"
    if made.texts is not None and made.names is not None:
        write_descriptions(table, dict(zip(made.names, made.texts, strict=True)))
    else:
        table.unlink(missing_ok=True)


def _read(path: Path, names: Path | None) -> Prototypes:
    if path.suffix.lower() in REFERENCE_SUFFIXES:
        found = read_reference_prototypes(path)
    elif path.suffix.lower() == ".safetensors":
        found = read_prototypes(path)
    else:
        raise TextError(f"{path}: expected prototypes as .safetensors or as the reference's .pt, found {path.suffix!r}")
    if names is None:
        return found
    if found.names is not None:
        raise TextError(f"{path} holds its own names; leave {names} out")
    try:
        return found.named(read_names(names))
    except TextError as error:
        raise TextError(f"{names} for {path}: {error}") from error


def _arrange(found: Prototypes, *, index: ImageIndex, match: str) -> Prototypes:
    """Bring ready prototypes into the order of the classes, as far as names and classes are known."""
    if not index.labelled or match == "free":
        return found
    if found.names is not None:
        return found.ordered(_match(found.names, index, match)).named(index.classes)
    if len(found.vectors) != len(index.classes):
        raise TextError(
            f"the data have {len(index.classes)} classes, but there are {len(found.vectors)} prototypes, and their "
            "file has no names; give the prototypes of these classes, give --names, or set text.match to free"
        )
    return found


def _gather(
    *, index: ImageIndex, config: Config, names: Path | None, descriptions: Path | None, progress: Progress
) -> tuple[dict[str, tuple[str, ...]], dict[str, str | None]]:
    """Texts by name, and what is to be recorded about how they came to be."""
    template = config.text.template
    if descriptions is not None:
        if names is not None:
            raise TextError("give either names or descriptions, not both; descriptions hold the names")
        made = f"descriptions {descriptions.name} (BLAKE2b {file_digest(descriptions)})"
        if origin := read_provenance(descriptions):
            made = f"{made}, {origin}"
        return read_descriptions(descriptions, notify=progress.note), {"made": made, "template": None}
    if names is not None:
        known, origin = read_names(names), f"names {names.name} (BLAKE2b {file_digest(names)})"
    elif index.labelled:
        known, origin = index.classes, "class names of the data"
    else:
        raise TextError(
            f"{index.root} has no labels, so there are no class names to make prototypes of; "
            "give --names, --descriptions or --prototypes, or set teacher.use to no"
        )
    return {name: (fill_template(template, name),) for name in known}, {"made": origin, "template": template}


def _select(words: Mapping[str, tuple[str, ...]], index: ImageIndex, match: str) -> dict[str, tuple[str, ...]]:
    """Texts under the true class names and in their order, or as they are where there is nothing to match."""
    if not index.labelled or match == "free":
        return dict(words)
    order = _match(tuple(words), index, match)
    texts = tuple(words.values())
    return {label: texts[position] for label, position in zip(index.classes, order, strict=True)}


def _match(names: tuple[str, ...], index: ImageIndex, match: str) -> tuple[int, ...]:
    return match_names(names, index.classes, mode="subset" if match == "subset" else "exact")


def _encode(
    words: Mapping[str, tuple[str, ...]], *, plan: Mapping[str, str | None], config: Config, progress: Progress
) -> tuple[Prototypes, EncodedTexts]:
    teacher = _teacher(config.teacher)
    teacher.to(pick_device(config.train.device))
    texts = [text for own in words.values() for text in own]
    encoded = encode_texts(
        texts,
        encoder=teacher,
        long_text=config.text.long_text,
        track=lambda starts: progress.track(starts, total=len(starts), what="encode texts", unit="batches"),
    )
    if encoded.long_texts:
        fate = "split and averaged" if config.text.long_text == "split" else "cut"
        progress.note(f"{encoded.long_texts} of {len(texts)} texts are longer than {teacher.name} reads: {fate}")
    if len(texts) > len(words):
        progress.note(f"{len(texts)} texts for {len(words)} classes: those of a class are averaged")
    made = Prototypes(
        vectors=average_texts(encoded.vectors, [len(own) for own in words.values()]),
        names=tuple(words),
        texts=tuple(words.values()),
        model=teacher.name,
        made=plan["made"] or "",
        long_text=config.text.long_text,
        template=plan["template"],
    )
    made.check_width(teacher.embedding_dim, of=f"the image tower of {teacher.name}")
    return made, encoded


def _teacher(settings: TeacherConfig) -> Teacher:
    return load_teacher(
        model=settings.model,
        pretrained=settings.pretrained,
        factory=settings.factory,
        normalization=settings.normalization,
    )
