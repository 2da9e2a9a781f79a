"""The settings of a run: one frozen tree, its presets, and how it is read from YAML and the command line."""

from leadpp.config.reader import (
    NETWORKS,
    PRESETS,
    OptionField,
    build_config,
    merge_settings,
    option_fields,
    read_yaml,
    to_mapping,
    write_yaml,
)
from leadpp.config.tree import Config

__all__ = [
    "NETWORKS",
    "PRESETS",
    "Config",
    "OptionField",
    "build_config",
    "merge_settings",
    "option_fields",
    "read_yaml",
    "to_mapping",
    "write_yaml",
]
