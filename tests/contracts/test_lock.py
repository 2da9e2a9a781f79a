"""The lock file holds what pyproject.toml asks for, with a hash for every file."""

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
LOCK = (ROOT / "requirements" / "dev.lock").read_text(encoding="utf-8")


def locked() -> dict[str, list[Version]]:
    """Return the locked versions of each library; it may have several, for several versions of Python."""
    found: dict[str, list[Version]] = {}
    for name, version in re.findall(r"^([\w.-]+)==([\w.+!-]+)", LOCK, re.MULTILINE):
        found.setdefault(canonicalize_name(name), []).append(Version(version))
    return found


def test_every_dependency_is_locked_within_its_bounds() -> None:
    extras = PROJECT["optional-dependencies"]
    words = [*PROJECT["dependencies"], *(word for word in extras["dev"] if not word.startswith("leadpp["))]
    wanted = {canonicalize_name(one.name): one.specifier for one in map(Requirement, words)}
    found = locked()
    assert wanted.keys() - found.keys() == set()
    assert {name: found[name] for name, bounds in wanted.items() if not all(map(bounds.contains, found[name]))} == {}


def test_every_locked_library_has_hashes() -> None:
    entries = re.split(r"^(?=[\w.-]+==)", LOCK, flags=re.MULTILINE)[1:]
    assert len(entries) == sum(map(len, locked().values()))
    assert [entry.splitlines()[0] for entry in entries if "--hash=sha256:" not in entry] == []


def test_every_bound_has_a_floor() -> None:
    floors = [Requirement(word).specifier for word in PROJECT["dependencies"]]
    assert all(any(one.operator in (">=", "==") for one in floor) for floor in floors)
