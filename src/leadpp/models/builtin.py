"""The two small networks that are shipped in the package, named ``builtin:NAME`` in settings.

Settings and files keep that name, so that they mean the same on every machine; it becomes a folder only here.
"""

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Final

from leadpp.errors import WeightsError

BUILTIN_PREFIX: Final = "builtin:"
LOCAL_PREFIX: Final = "local-dir:"
"""What the name of a network in a folder begins with; here, because whoever only asks for names needs no timm."""
FILES: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "world-backbone": ("config.json", "model.safetensors"),
        "world-clip": ("open_clip_config.json", "open_clip_model.safetensors", "bpe.txt.gz"),
    }
)
"""Name -> the files without which the network cannot be built."""


def local_name(name: str) -> str:
    """Return ``local-dir:FOLDER`` for a shipped network, and any other name as it is.

    Raises:
        WeightsError: No network of this name is shipped, or one of its files is missing from the installation.
    """
    if not name.startswith(BUILTIN_PREFIX):
        return name
    return f"{LOCAL_PREFIX}{builtin_folder(name.removeprefix(BUILTIN_PREFIX))}"


def builtin_folder(name: str) -> Path:
    """Return the installed folder of a shipped network, for instance ``"world-clip"``.

    Raises:
        WeightsError: No network of this name is shipped, or one of its files is missing from the installation.
    """
    if name not in FILES:
        raise WeightsError(f"{BUILTIN_PREFIX}{name}: no such network is shipped; choose from {', '.join(FILES)}")
    folder = networks_folder() / name
    for needed in FILES[name]:
        if not (folder / needed).is_file():
            raise WeightsError(
                f"{BUILTIN_PREFIX}{name}: {folder / needed} is missing; this is a broken install, reinstall leadpp"
            )
    return folder


def networks_folder() -> Path:
    """Return the folder of the installed package that holds the shipped networks."""
    return Path(str(resources.files("leadpp") / "networks"))
