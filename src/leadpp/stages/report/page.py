"""The page: which sections it has, in which order, and what stands in place of one that has nothing to show."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from leadpp.config.tree import Config
from leadpp.data.index import ImageIndex
from leadpp.engine.determinism import deterministic_if_asked
from leadpp.engine.pages import render_page
from leadpp.engine.runtime import Progress, SilentProgress
from leadpp.errors import LeadppError
from leadpp.io.artifacts import write_text
from leadpp.stages.report import clusters, headline, names, neighbours, objects, setup, teacher, training
from leadpp.stages.report.material import Absent, Material


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """One part of the page."""

    key: str
    """Name of its template and its anchor."""
    title: str
    content: dict[str, Any] | None
    """What its template shows; None where there is nothing."""
    missing: str = ""
    """What is not there, and which stage makes it."""


_SECTIONS: tuple[tuple[str, str, Callable[[Material], dict[str, Any]]], ...] = (
    ("figures", "Figures", headline.headline),
    ("curves", "Training", training.curves),
    ("boxes", "Boxes", objects.boxes),
    ("views", "Views", objects.views),
    ("teacher", "Teacher", teacher.entropy),
    ("names", "Names", names.names),
    ("clusters", "Clusters", clusters.clusters),
    ("retrieval", "Neighbours", neighbours.retrieval),
    ("confusion", "Confusion", neighbours.confusion),
    ("maps", "Map", neighbours.maps),
    ("words", "Words", teacher.words),
    ("stages", "Stages", training.stages),
    ("data", "Data", setup.data),
    ("settings", "Settings", setup.settings),
    ("environment", "Environment", setup.environment),
)


_UNLABELLED_ONLY = ("clusters",)


@deterministic_if_asked
def report(*, index: ImageIndex, run: Path, config: Config, progress: Progress | None = None) -> dict[str, Any]:
    """Write ``report.html``: one file with all pictures and charts in it, which asks nothing of a network.

    A section whose files are missing or damaged says so, and which stage makes them; the others do not mind. The page
    holds no times and no command, so that it is the same wherever the work is the same.

    Args:
        index: The photographs.
        run: The run folder; only its files are read.
        config: Settings; ``report`` says how much is shown.
        progress: Told which section is made.

    Returns:
        ``report``, the path of the file, and ``missing``, the sections that have nothing to show.

    Raises:
        ArtifactError: The file cannot be written.
    """
    progress = progress or SilentProgress()
    material = Material(index=index, run=run, config=config)
    wanted = [section for section in _SECTIONS if section[0] not in (_UNLABELLED_ONLY if index.labelled else ())]
    making = progress.track(wanted, total=len(wanted), what="report", unit="sections")
    sections = [_section(key, title, make, material, progress) for key, title, make in making]
    path = run / "report.html"
    write_text(path, _render(sections, material))
    return {"report": str(path), "missing": [section.title for section in sections if section.content is None]}


def _section(
    key: str, title: str, make: Callable[[Material], dict[str, Any]], material: Material, progress: Progress
) -> Section:
    try:
        return Section(key=key, title=title, content=make(material))
    except Absent as reason:
        return Section(key=key, title=title, content=None, missing=str(reason))
    except LeadppError as error:  # a damaged file costs its section, but never in silence
        progress.note(f"the report has no {title}: {error}")
        return Section(key=key, title=title, content=None, missing=str(error))


def _render(sections: list[Section], material: Material) -> str:
    config, index = material.config, material.index
    return render_page(
        "leadpp.stages.report",
        "page.html.j2",
        over="report",
        title=config.report.title or index.root.resolve().name,
        facts=index.summary(),
        preset=config.preset,
        backbone=config.student.backbone,
        epochs=config.train.epochs,
        seed=config.seed,
        run_hash=material.run_hash,
        sections=sections,
    )
