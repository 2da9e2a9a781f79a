"""Pages that hold all they show: templates with one style, everything escaped, and nothing asked of a network."""

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2

_OWN = "leadpp.engine"


def page_environment(package: str = _OWN) -> jinja2.Environment:
    """Return the templates of a package, with the style and the parts that all pages share."""
    packages = dict.fromkeys((package, _OWN))
    return jinja2.Environment(
        loader=jinja2.ChoiceLoader([jinja2.PackageLoader(each, "templates") for each in packages]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def stream_page(path: Path, template: str, content: Mapping[str, Any], *, script: str = "") -> None:
    """Write a page piece by piece, so that its rows may come from a generator and are never all there at once.

    Args:
        path: The file.
        template: Name of the template.
        content: What it shows.
        script: Name of the one script that may run in it; any other is refused by the reader's browser.
    """
    environment = page_environment()
    source = ""
    if script and environment.loader is not None:
        source = environment.loader.get_source(environment, script)[0]
    digest = base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()
    page = environment.get_template(template).stream(**content, script=source, script_digest=f"sha256-{digest}")
    page.enable_buffering(64)
    with path.open("w", encoding="utf-8", newline="\n") as stream:
        stream.writelines(page)
