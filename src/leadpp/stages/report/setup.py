"""Sections of where figures come from: data, settings and environment."""

import dataclasses
from typing import Any

from leadpp.config.tree import Config
from leadpp.io.artifacts import file_digest
from leadpp.stages.report.material import Material
from leadpp.stages.report.wording import shown

_SOURCES = ("evaluation.json", "photographs.csv", "boxes.parquet", "prototypes.safetensors")
"""What figures come from; not metrics.jsonl, which tells of times too."""


def data(material: Material) -> dict[str, Any]:
    """Tell what photographs there are and what is odd about them."""
    return {"summary": material.index.summary(), "notes": material.index.notes()}


def settings(material: Material) -> dict[str, Any]:
    """List every setting by group; those that differ from the defaults of the code are marked."""
    standard = Config()
    plain: dict[str, str] = {}
    groups: dict[str, list[tuple[str, str, bool]]] = {}
    for field in dataclasses.fields(Config):
        if field.name == "llm":  # who wrote the words is told beside the words
            continue
        value, usual = getattr(material.config, field.name), getattr(standard, field.name)
        if dataclasses.is_dataclass(value):
            pairs = {
                one.name: (getattr(value, one.name), getattr(usual, one.name)) for one in dataclasses.fields(value)
            }
            groups[field.name] = [(name, shown(own), own != default) for name, (own, default) in pairs.items()]
        else:
            plain[field.name] = shown(value)
    return {"plain": plain, "groups": groups}


def environment(material: Material) -> dict[str, Any]:
    """List versions and machine, and the digests of the files that the figures come from.

    The command is left to ``env.json``: it holds the name of the run folder.
    """
    flat: dict[str, str] = {}
    for name, value in (material.environment() | {"command": {}}).items():
        if isinstance(value, dict):
            flat |= {str(key): shown(inner) for key, inner in value.items()}
        else:
            flat[name] = shown(value)
    there = [material.run / name for name in _SOURCES if (material.run / name).is_file()]
    return {"facts": flat | {path.name: f"BLAKE2b {file_digest(path)}" for path in there}}
