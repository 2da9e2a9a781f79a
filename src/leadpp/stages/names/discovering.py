"""Discover: clusters of a run's photographs for which no name fits, and, if asked for, a name proposed for each."""

import asyncio
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from leadpp.config.tree import Config
from leadpp.data.boxes import PhotographBoxes, read_boxes
from leadpp.data.index import ImageRecord
from leadpp.engine.answers import embeddings_of
from leadpp.engine.calibrating import Calibration
from leadpp.engine.clusters import kmeans
from leadpp.engine.determinism import deterministic_if_asked
from leadpp.engine.naming import name_answers
from leadpp.engine.pictures import jpeg_uri
from leadpp.engine.runtime import Progress, SilentProgress
from leadpp.engine.strangers import Fits, cluster_count, fit_names, most_typical
from leadpp.engine.thumbnails import cut_out
from leadpp.errors import ConfigError, DataError
from leadpp.functional.randomness import generator_for
from leadpp.io.artifacts import replacing, write_json, write_text
from leadpp.io.cells import plain, table_text
from leadpp.stages.names.asking import Stranger, ask_names
from leadpp.stages.names.files import check_folder
from leadpp.stages.names.opening import BOXES_NAME, OpenRun
from leadpp.stages.names.page import write_strangers_page

FILES = ("discovered.csv", "discovered.json", "discovered.html")
_KIND = "discovered"
_ASKED_PX = 512
_UNASKED = {"proposed": "", "known": False, "reason": "the asking ended before its answer"}
_RULE = (
    "Photographs are clustered by what the student sees, whatever their names. The fit of a cluster is the mean "
    "probability of its best name over its photographs; no name fits where that is below {below:g} times the median "
    "over clusters. A cluster of look-alikes that are hard to tell apart may be among them, and a kind without a name "
    "that looks like one with a name may not."
)


@dataclass(frozen=True, kw_only=True)
class Found:
    """What was seen of N photographs."""

    records: tuple[ImageRecord, ...]
    boxes: PhotographBoxes | None
    features: Tensor
    """Average features of the student, (N, F)."""
    probs: Tensor
    """Of each name, (N, V)."""
    assignments: Tensor
    """Cluster of each, (N,)."""
    fits: Fits
    calibration: Calibration


@deterministic_if_asked
def discover(
    *, run: Path, out: Path | None = None, ask: bool = False, config: Config, progress: Progress | None = None
) -> dict[str, Any]:
    """Find clusters of the run's photographs for which no name fits, and write them as a page and as tables.

    Labels are not looked at. A proposed name is shown as such and used for nothing.

    Args:
        run: A finished run with prototypes, whose photographs are where they were.
        out: Where ``discovered.csv``, ``discovered.json`` and ``discovered.html`` go; ``discovered`` in the run folder
            when left out.
        ask: Show the most typical photographs of each such cluster to the language model of ``llm``, which must accept
            pictures, and have it propose a name.
        config: The settings of the run; ``discover`` says how.
        progress: Who is told what is being done.

    Returns:
        What ``discovered.json`` holds: ``images``, ``clusters``, ``unnamed``, ``rule``, ``limit``, ``calibration``,
        ``asked`` (the model, or empty), ``out``, ``files``, and ``groups``, the least fitting first: ``cluster``,
        ``size``, ``fit``, ``nearest`` (names with their mean probability), ``photographs`` (paths, the most typical
        first), and with a language model ``proposed``, ``known`` (whether that name is in the list) and ``reason``.

    Raises:
        DataError: The run has no student that names, or its photographs are gone.
        ConfigError: A language model is to be asked, and none is named.
        LLMError: It cannot be reached or used, or the budget is used up; the clusters are kept, and what it answered
            before.
        LeadppError: Anything else that the user can mend.
    """
    progress = progress or SilentProgress()
    if ask and not config.llm.model:
        raise ConfigError("--ask needs a language model that accepts pictures; name it with --llm.model")
    opened = OpenRun(run=run, config=config, progress=progress)
    folder = out or run / "discovered"
    check_folder(folder, kind=_KIND, files=FILES)
    found = _look(opened)
    document = _document(opened, found, folder)
    _write(folder, document, found, opened)
    if ask and document["groups"]:
        strangers = [_stranger(opened, found, group) for group in document["groups"]]
        proposals: dict[int, dict[str, Any]] = {}
        asking = ask_names(
            strangers, known=opened.names, config=config, progress=progress, answered=proposals.__setitem__
        )
        try:
            asyncio.run(asking)
        finally:  # whatever ends the asking, a full purse or the user: what was paid for is kept
            if proposals:
                document = _with(document, proposals, model=config.llm.model)
                _write(folder, document, found, opened)
    return document


def _look(opened: OpenRun) -> Found:
    config, records = opened.config, opened.index.usable()
    if not records:
        raise DataError(f"{opened.run}: its index holds no photographs")
    opened.check_namer(opened.student)
    boxes = read_boxes(opened.run / BOXES_NAME, records) if opened.set_name == "crop" else None
    crops = None if boxes is None else boxes.crop_xyxy
    features = opened.look(opened.student, records, root=opened.index.root, crops=crops)
    embeddings = opened.fitting(embeddings_of(features), who="student")
    told = opened.calibration()
    probs = name_answers(embeddings, opened.vectors, temperatures=told.temperatures).probs
    count = cluster_count(config.discover.clusters, names=len(opened.names), photographs=len(records))
    assignments = kmeans(
        features["gap"],
        clusters=count,
        generator=generator_for(config.seed, "strangers"),
        spherical=True,
        restarts=config.evaluate.kmeans_restarts,
    ).assignments
    return Found(
        records=records,
        boxes=boxes,
        features=features["gap"],
        probs=probs,
        assignments=assignments,
        fits=fit_names(probs, assignments, clusters=count, below=config.discover.below),
        calibration=told,
    )


def _document(opened: OpenRun, found: Found, folder: Path) -> dict[str, Any]:
    groups = [_group(opened, found, number) for number in found.fits.strange.tolist()]
    return {
        "images": len(found.records),
        "clusters": len(found.fits.fit),
        "unnamed": len(groups),
        "rule": _RULE.format(below=opened.config.discover.below),
        "limit": found.fits.limit,
        "calibration": dataclasses.asdict(found.calibration),
        "asked": "",
        "out": str(folder),
        "files": list(FILES),
        "groups": groups,
    }


def _group(opened: OpenRun, found: Found, number: int) -> dict[str, Any]:
    members = (found.assignments == number).nonzero()[:, 0]
    names = opened.names
    means = found.probs[members].double().mean(dim=0)
    near = found.fits.ranking[number, : opened.config.name.top].tolist()
    order = most_typical(found.features, members)
    return {
        "cluster": number + 1,
        "size": len(members),
        "fit": float(found.fits.fit[number]),
        "nearest": [{"name": names[place], "probability": float(means[place])} for place in near],
        "photographs": [found.records[place].path for place in order],
    }


def _stranger(opened: OpenRun, found: Found, group: Mapping[str, Any]) -> Stranger:
    shown = _shown(found)
    some = [shown[path] for path in group["photographs"][: opened.config.discover.pictures]]
    return Stranger(
        pictures=[
            jpeg_uri(cut_out(record, root=opened.index.root, side_px=_ASKED_PX, box_xyxy=box)) for record, box in some
        ],
        near=[one["name"] for one in group["nearest"]],
    )


def _with(document: dict[str, Any], proposals: Mapping[int, Mapping[str, Any]], *, model: str) -> dict[str, Any]:
    groups = [{**group, **proposals.get(place, _UNASKED)} for place, group in enumerate(document["groups"])]
    return document | {"asked": model, "groups": groups}


def _write(folder: Path, document: dict[str, Any], found: Found, opened: OpenRun) -> None:
    csv, json, html = (folder / file for file in FILES)
    with replacing(html) as partial:
        write_strangers_page(
            partial,
            document,
            _shown(found),
            root=opened.index.root,
            typical=opened.config.discover.typical,
        )
        write_json(json, document, kind=_KIND)
        write_text(csv, _csv(document))


def _shown(found: Found) -> dict[str, tuple[ImageRecord, list[int] | None]]:
    """Return each photograph's record and object box, by its path."""
    objects = [None] * len(found.records) if found.boxes is None else found.boxes.object_xyxy.tolist()
    return {record.path: (record, box) for record, box in zip(found.records, objects, strict=True)}


def _csv(document: Mapping[str, Any]) -> str:
    """Return one row a photograph of the clusters without a name, the most typical of each first."""
    header = ["path", "cluster", "size", "fit", "nearest_name", "proposed_name"]
    rows = [
        [path, group["cluster"], group["size"], group["fit"], group["nearest"][0]["name"], group.get("proposed")]
        for group in document["groups"]
        for path in group["photographs"]
    ]
    return table_text(header, ([plain(cell) for cell in row] for row in rows))
