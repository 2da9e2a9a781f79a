"""From YAML and the command line to the tree; unknown keys and wrong types are one clear error."""

import ast
import dataclasses
import difflib
import inspect
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import yaml

from leadpp.config.tree import Config
from leadpp.errors import ConfigError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance
    from typing_extensions import TypeIs

T = TypeVar("T")

_RENAMED: dict[tuple[str, str], tuple[str, Callable[[Any], Any]]] = {
    ("evaluate", "probe_learning_rate"): ("probe_rates", lambda rate: [rate]),
    ("text", "long_text"): ("long", lambda word: "truncate" if word == "cut" else word),
}
"""Settings that older files name otherwise: what they are called today, and how the old value is written."""

PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "lead++": {},
    "lead": {
        "loss": {
            "global_object": 0.0,
            "object_object": 0.0,
            "alignment": 0.0,
            "structure": 0.0,
            "distill_view": "global",
        },
    },
    "moco": {
        "teacher": {"use": "no"},
        "loss": {
            "global_object": 0.0,
            "object_object": 0.0,
            "alignment": 0.0,
            "distillation": 0.0,
            "structure": 0.0,
            "contrast_weighting": "one",
        },
    },
    "paper": {
        "localize": {
            "fit_split": "all",
            "fit_images": 0,
            "fit_size": 512,
            "batchnorm": "train-in-apply",
            "sign_rule": "loading",
            "zero_rows": True,
            "box_reading": "reference",
            "form": "search",
            "threshold": 0.0,
            "size": 448,
        },
        "augment": {
            "crop_least": 0.2,
            "jitter": 0.4,
            "hue": 0.1,
            "jitter_prob": 0.8,
            "grey_prob": 0.2,
            "blur": 2.0,
            "blur_prob": 0.5,
        },
        "text": {"long": "truncate"},
        "teacher": {"normalization": "imagenet", "view": "augmented", "neighbours": 0, "balance": 0.0},
        "student": {"attention_scaling": "batch", "batchnorm": "train"},
        "loss": {
            "structure": 0.0,
            "structure_teacher": 0.0,
            "distill_view": "object",
            "reduction": "reference",
            "log_form": "softmax-log",
            "alignment_form": "reference",
        },
        "train": {
            "clip_norm": 0.0,
            "head_warmup_epochs": 0.0,
            "blend": 1.0,
            "schedule": "cosine-epoch",
            "key_momentum": 0.999,
            "key_update": "forward",
            "forwards": "reference",
            "queue_size": 65536,
            "key_timing": "reference",
        },
        "evaluate": {"probe_views": 100},
    },
}
"""What each preset sets over the defaults; a file and the command line go over it."""

NETWORKS: dict[str, dict[str, dict[str, Any]]] = {
    "": {},
    "world": {
        "input": {"size": 96},
        "localize": {
            "backbone": "builtin:world-backbone",
            "size": 160,
            "fit_size": 0,
            "stages": 2,
            "upsample": 4,
            "threshold": 0.1,
        },
        "teacher": {"model": "builtin:world-clip"},
        "student": {"backbone": "builtin:world-backbone"},
        "loss": {"distillation_temperature": 0.05},
        "train": {"epochs": 6, "batch_size": 32, "precision": "auto"},
    },
}
"""What each set of shipped networks sets over any preset: their names, sizes, a length of training and a precision that
suit them, and the temperature of the teacher, which is its own and not CLIP's."""


_KIND_WORDS: dict[object, str] = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}


@dataclass(frozen=True, slots=True)
class OptionField:
    """One leaf of the tree, as the command line shows it."""

    path: tuple[str, ...]
    """Names from the root, for instance ``("train", "epochs")``."""
    kind: Any
    """The annotated type."""
    default: Any
    """The value without preset, file or flag."""
    text: str
    """The field's documentation."""


def option_fields() -> list[OptionField]:
    """List every leaf of the tree in order, with its type, default and documentation."""
    return list(_leaves(Config, ()))


def build_config(*layers: Mapping[str, Any]) -> Config:
    """Build the tree from nested mappings; later ones go over earlier ones, and all over the preset they name.

    The networks that they name stand between.

    Args:
        layers: Mappings as YAML gives them, for instance the file's and the command line's.

    Raises:
        ConfigError: An unknown key (the closest is shown), a wrong type or a value out of range.
    """
    preset = _word("preset", PRESETS, layers, usual="lead++")
    networks = _word("networks", NETWORKS, layers, usual="")
    return _build(Config, merge_settings(PRESETS[preset], NETWORKS[networks], *layers), ())


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file of settings to a nested mapping.

    Raises:
        ConfigError: The file is missing, is no YAML or holds no mapping.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot read the settings: {error}") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: expected a mapping of settings, found {type(content).__name__}")
    return _with_names_of_today(content)


def _with_names_of_today(content: dict[str, Any]) -> dict[str, Any]:
    """Rename what older files call otherwise."""
    renamed = dict(content)
    for (group, old), (new, write) in _RENAMED.items():
        settings = renamed.get(group)
        if isinstance(settings, dict) and old in settings:
            kept = {name: value for name, value in settings.items() if name != old}
            renamed[group] = {new: write(settings[old])} | kept
    return renamed


def merge_settings(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Lay nested settings over one another, later ones over earlier ones; dashes in names become underscores."""
    merged: dict[str, Any] = {}
    for layer in layers:
        _merge(merged, layer)
    return merged


def to_mapping(config: "DataclassInstance") -> dict[str, Any]:
    """Turn a tree or one of its groups into plain values, in the order of its fields."""
    return {
        item.name: to_mapping(value) if _is_group(value) else _plain(value)
        for item in dataclasses.fields(config)
        for value in (getattr(config, item.name),)
    }


def write_yaml(config: Config) -> str:
    """Return the resolved tree as YAML that :func:`read_yaml` and :func:`build_config` turn into the same tree."""
    return yaml.safe_dump(to_mapping(config), sort_keys=False, allow_unicode=True, width=120)


def _word(name: str, choices: Iterable[str], layers: Sequence[Mapping[str, Any]], *, usual: str) -> str:
    """Return the word that the last layer to give ``name`` gives it."""
    word = next((layer[name] for layer in reversed(layers) if name in layer), usual)
    if not isinstance(word, str) or word not in choices:
        raise ConfigError(f"{name} must be {_one_of(choices)}, got {word!r}")
    return word


def _one_of(words: Iterable[object]) -> str:
    """Say what may be chosen; the empty word stands for none and may be left out."""
    shown = [str(word) for word in words if word != ""]
    return f"one of {', '.join(shown)}" if len(shown) > 1 else shown[0]


def _leaves(node: type, path: tuple[str, ...]) -> Iterator[OptionField]:
    hints = get_type_hints(node)
    texts = _field_texts(node)
    for item in dataclasses.fields(node):
        here = (*path, item.name)
        if dataclasses.is_dataclass(hints[item.name]):
            yield from _leaves(hints[item.name], here)
        else:
            yield OptionField(here, hints[item.name], item.default, texts.get(item.name, ""))


def _field_texts(node: type) -> dict[str, str]:
    """Read the strings that stand under the fields of a class."""
    for statement in ast.parse(inspect.getsource(sys.modules[node.__module__])).body:
        if isinstance(statement, ast.ClassDef) and statement.name == node.__name__:
            pairs = zip(statement.body, statement.body[1:], strict=False)
            return {
                first.target.id: " ".join(ast.literal_eval(second.value).split())
                for first, second in pairs
                if isinstance(first, ast.AnnAssign)
                and isinstance(first.target, ast.Name)
                and isinstance(second, ast.Expr)
                and isinstance(second.value, ast.Constant)
            }
    return {}


def _merge(target: dict[str, Any], layer: Mapping[str, Any]) -> None:
    for raw, value in layer.items():
        key = raw.replace("-", "_") if isinstance(raw, str) else raw
        if isinstance(value, Mapping) and isinstance(target.get(key, {}), dict):
            _merge(target.setdefault(key, {}), value)
        else:
            target[key] = value


def _build(node: type[T], content: object, path: tuple[str, ...]) -> T:
    if not isinstance(content, Mapping):
        raise ConfigError(f"{'.'.join(path)}: expected a group of settings, found {content!r}")
    hints = get_type_hints(node)
    for key in content:
        if key not in hints:
            raise ConfigError(_unknown((*path, str(key))))
    values = {
        key: _build(hints[key], value, (*path, key))
        if dataclasses.is_dataclass(hints[key])
        else _convert(value, hints[key], (*path, key))
        for key, value in content.items()
    }
    return node(**values)


def _unknown(path: tuple[str, ...]) -> str:
    known = {".".join(leaf.path) for leaf in option_fields()}
    known |= {name.split(".")[0] for name in known}
    wanted = ".".join(path)
    close = difflib.get_close_matches(wanted, known, n=3, cutoff=0.5)
    if not close:
        close = sorted(name for name in known if name.rsplit(".", 1)[-1] == path[-1])
    hint = f"; closest: {', '.join(close)}" if close else ""
    return f"unknown setting {wanted!r}{hint}"


def _convert(value: object, kind: object, path: tuple[str, ...]) -> object:
    origin = get_origin(kind)
    if origin is Literal:
        if isinstance(value, bool):  # YAML reads a bare yes or no as a truth value
            value = "yes" if value else "no"
        if value in get_args(kind):
            return value
        raise ConfigError(f"{'.'.join(path)} must be {_one_of(get_args(kind))}, got {value!r}")
    if origin is tuple:
        items = value.split(",") if isinstance(value, str) else value
        if not isinstance(items, list | tuple):
            raise ConfigError(f"{'.'.join(path)} must be a list, got {value!r}")
        items = [item.strip() if isinstance(item, str) else item for item in items]
        try:
            return tuple(_convert(item, get_args(kind)[0], path) for item in items)
        except ConfigError as error:
            raise ConfigError(f"{error}; several are separated by commas") from error
    return _convert_scalar(value, kind, path)


def _convert_scalar(value: object, kind: object, path: tuple[str, ...]) -> object:
    if kind is float and isinstance(value, str):
        with_number = _number(value)
        value = value if with_number is None else with_number
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        if math.isfinite(value):
            return float(value)
        raise ConfigError(f"{'.'.join(path)} must be a finite number, got {value!r}")
    if kind is str and isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    if type(value) is kind:
        return value
    raise ConfigError(f"{'.'.join(path)} must be {_KIND_WORDS[kind]}, got {value!r}")


def _number(text: str) -> float | None:
    """Read a number that YAML leaves as text, such as ``5e-4``."""
    try:
        return float(text)
    except ValueError:
        return None


def _is_group(value: object) -> "TypeIs[DataclassInstance]":
    return dataclasses.is_dataclass(value) and not isinstance(value, type)


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value
