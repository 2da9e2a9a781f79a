"""Pages of HTML in the one style of this project: a file that holds all it shows, and asks nothing of a network.

A template extends ``shell.html.j2``, which has the head, the style sheet and the foot; every value that it shows is
escaped.
"""

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2


def render_page(package: str, template: str, **content: object) -> str:
    """Fill a template.

    Args:
        package: The package in whose folder ``templates`` it lies.
        template: Its name.
        **content: What it shows; a name that the template uses and that is not given is an error of ours.
    """
    return _environment(package).get_template(template).render(**content)


def stream_page(path: Path, package: str, template: str, content: Mapping[str, Any], *, script: str = "") -> None:
    """Write a page piece by piece, so that its rows may come from a generator and are never all there at once.

    Args:
        path: The file.
        package: As for :func:`render_page`.
        template: Name of the template.
        content: What it shows.
        script: Name of the one script that may run in it; a browser refuses any other.
    """
    environment = _environment(package)
    shown = dict(content)
    if script and environment.loader is not None:
        source = environment.loader.get_source(environment, script)[0]
        digest = base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()
        shown |= {"script": source, "script_digest": f"sha256-{digest}"}
    page = environment.get_template(template).stream(**shown)
    page.enable_buffering(64)
    with path.open("w", encoding="utf-8", newline="\n") as stream:
        stream.writelines(page)


def _environment(package: str) -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.ChoiceLoader([jinja2.PackageLoader(package), jinja2.PackageLoader("leadpp.engine")]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
