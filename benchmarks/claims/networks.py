"""Which networks a run is made of: the SHA-256 of their weights, and what they cannot be told apart by."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

from benchmarks.teachers.noisy import BASE_VARIABLE
from leadpp.config import Config
from leadpp.models.builtin import BUILTIN_PREFIX, LOCAL_PREFIX, networks_folder


def network_folder(name: str) -> Path | None:
    """Return the folder of a ``builtin:`` or ``local-dir:`` network, or None for one that lives elsewhere."""
    if name.startswith(BUILTIN_PREFIX):
        return networks_folder() / name.removeprefix(BUILTIN_PREFIX)
    return Path(name.removeprefix(LOCAL_PREFIX)) if name.startswith(LOCAL_PREFIX) else None


def public_name(name: str) -> str:
    """Return a network's name without the folders of this machine."""
    folder = network_folder(name)
    return name if folder is None or name.startswith(BUILTIN_PREFIX) else f"{LOCAL_PREFIX}{folder.name}"


def weights_digests(config: Config) -> Mapping[str, str]:
    """Return the SHA-256 of the weights of the localizer, the student's start and the teacher, by public name.

    A network without a folder here has its name alone, and a teacher of one's own its factory.
    """
    names = [config.localize.backbone, config.student.backbone]
    if config.teacher.use != "no":
        names += [config.teacher.factory or config.teacher.model]
        if config.teacher.factory and os.environ.get(BASE_VARIABLE):
            names.append(os.environ[BASE_VARIABLE])
    return {public_name(name): _digest(network_folder(name)) for name in names}


def _digest(folder: Path | None) -> str:
    files = sorted(folder.glob("*.safetensors")) if folder is not None and folder.is_dir() else []
    digests = []
    for path in files:
        with path.open("rb") as stream:
            digests.append(hashlib.file_digest(stream, "sha256").hexdigest())
    return " ".join(digests) or "not a file here"
