"""Reading open_clip models so that what comes back has its own weights, or nothing comes back.

open_clip itself goes on with random weights, and a line in a log, when a folder or a hub repository has none; and it
leaves the activation of a tag such as ``openai`` to the user (QuickGELU, which the model ``ViT-B-16`` alone has not).
"""

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import open_clip
from safetensors import SafetensorError
from torch import nn

from leadpp.errors import WeightsError
from leadpp.models.builtin import LOCAL_PREFIX, local_name
from leadpp.models.weights import HUB_PREFIX, fetch_hub_file

CONFIG_FILE = "open_clip_config.json"
WEIGHT_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
_PREPROCESSING = ("mean", "std", "interpolation")
_NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class OpenClipParts:
    """A model with its weights, and what must be known to feed it."""

    model: nn.Module
    tokenizer: Any
    name: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: Literal["bicubic", "bilinear"]


def open_clip_parts(model: str, pretrained: str) -> OpenClipParts:
    """Read a model and its tokenizer.

    Args:
        model: An open_clip name, ``local-dir:FOLDER``, ``hf-hub:OWNER/NAME`` or ``builtin:world-clip``.
        pretrained: A tag of that name, or a file of weights; not used with the three prefixes.

    Raises:
        WeightsError: The name, the tag or a file is unknown or missing, or the weights do not fit.
    """
    source = local_name(model)
    if source.startswith(LOCAL_PREFIX):
        return _from_folder(Path(source.removeprefix(LOCAL_PREFIX)), name=model)
    if model.startswith(HUB_PREFIX):
        return _from_hub(model.removeprefix(HUB_PREFIX), name=model)
    return _from_tag(model, pretrained)


def fetch_hub_weights(repo: str) -> Path:
    """Return the weight file of an open_clip repository, from the cache or the hub, safetensors first.

    Raises:
        WeightsError: It is in neither; says which file was looked for and how to get it.
    """
    try:
        return fetch_hub_file(repo, WEIGHT_FILES[0])
    except WeightsError as error:
        try:
            return fetch_hub_file(repo, WEIGHT_FILES[1])
        except WeightsError:
            raise error from None


def _from_hub(repo: str, *, name: str) -> OpenClipParts:
    folder = fetch_hub_file(repo, CONFIG_FILE).parent
    fetch_hub_weights(repo)
    asks_hub = "hf_tokenizer_name" in _folder_config(folder).get("text_cfg", {})
    return _from_folder(folder, name=name, tokenizer=name if asks_hub else "")


def _from_folder(folder: Path, *, name: str, tokenizer: str = "") -> OpenClipParts:
    local = f"{LOCAL_PREFIX}{folder}"
    words = _own_merges(folder, _folder_config(folder))
    return _build(local, name=name, tokenizer=tokenizer or local, words=words, what=f"the weights in {folder}")


def _own_merges(folder: Path, settings: Mapping[str, Any]) -> dict[str, str]:
    """Return where a folder's own word pieces lie; open_clip itself would look for them in the current directory."""
    relative = (settings.get("text_cfg", {}).get("tokenizer_kwargs") or {}).get("bpe_path")
    if relative is None:
        return {}
    path = folder / relative
    if not path.is_file():
        raise WeightsError(f"{path}: no such file; {CONFIG_FILE} names it as the tokenizer's, copy it there")
    return {"bpe_path": str(path)}


def _folder_config(folder: Path) -> dict[str, Any]:
    needed = f"{LOCAL_PREFIX} expects a folder with {CONFIG_FILE} and {WEIGHT_FILES[0]}"
    if not folder.is_dir():
        raise WeightsError(f"{folder}: no such folder; {needed}")
    config = folder / CONFIG_FILE
    try:
        content = json.loads(config.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise WeightsError(f"{config}: no such file; {needed}") from error
    except (OSError, ValueError) as error:
        raise WeightsError(f"{config}: cannot be read as JSON ({error}); copy the folder again") from error
    settings = content.get("model_cfg") if isinstance(content, dict) else None
    if not isinstance(settings, dict):
        raise WeightsError(f"{config}: expected an open_clip config with 'model_cfg', found none; {needed}")
    if not any((folder / weights).is_file() for weights in WEIGHT_FILES):
        raise WeightsError(f"{folder / WEIGHT_FILES[0]}: no such file; put the open_clip weights there")
    return settings


def _from_tag(model: str, pretrained: str) -> OpenClipParts:
    known: list[str] = open_clip.list_models()
    if model not in known:
        raise WeightsError(f"open_clip knows no model {model!r}; {_closest(model, known)}")
    tags: list[str] = open_clip.list_pretrained_tags_by_model(model)
    if pretrained in tags:
        tag: Mapping[str, Any] = open_clip.get_pretrained_cfg(model, pretrained)
        path = _fetch_tag(tag, what=f"{model} ({pretrained})")
    elif Path(pretrained).is_file():
        tag, path = _common_to_tags(model, tags), Path(pretrained)
    else:
        raise WeightsError(
            f"{pretrained!r} is neither a file nor a tag of open_clip's {model}; {_closest(pretrained, tags)}"
        )
    return _build(
        model,
        name=f"{model}/{pretrained}",
        tokenizer=model,
        what=str(path),
        settings={
            "pretrained": str(path),
            "force_quick_gelu": bool(tag.get("quick_gelu", False)),
            "force_preprocess_cfg": {key: tag[key] for key in _PREPROCESSING if key in tag},
        },
    )


def _common_to_tags(model: str, tags: list[str]) -> dict[str, Any]:
    """Return what all weights that are known of a model are fed with, for a file whose origin nobody tells."""
    known: list[Mapping[str, Any]] = [open_clip.get_pretrained_cfg(model, tag) for tag in tags]
    first = known[0] if known else {}
    return {
        key: first[key] for key in _PREPROCESSING if key in first and all(one.get(key) == first[key] for one in known)
    }


def _fetch_tag(tag: Mapping[str, Any], *, what: str) -> Path:
    repo, _, filename = str(tag.get("hf_hub", "")).rpartition("/")
    if repo:
        return fetch_hub_file(repo, filename) if filename else fetch_hub_weights(repo)
    url = str(tag.get("url", ""))
    try:
        return Path(open_clip.download_pretrained(dict(tag)))
    except (OSError, RuntimeError) as error:
        raise WeightsError(
            f"looked for {url}, the weights of {what}, and could not fetch it ({error}); download it on a connected "
            "machine, copy it here and give its path as teacher.pretrained"
        ) from error


def _build(
    model: str,
    *,
    name: str,
    tokenizer: str,
    what: str,
    settings: Mapping[str, Any] = _NOTHING,
    words: Mapping[str, str] = _NOTHING,
) -> OpenClipParts:
    try:
        clip: nn.Module = open_clip.create_model(model, require_pretrained=True, **settings)
    except (OSError, RuntimeError, ValueError, TypeError, KeyError, AttributeError, SafetensorError) as error:
        raise WeightsError(f"{what}: do not make the model {name!r} ({_first_line(error)}); copy them again") from error
    try:
        pieces = open_clip.get_tokenizer(tokenizer, **words)
    except (OSError, EOFError, RuntimeError, ValueError, ImportError) as error:
        raise WeightsError(
            f"{name}: its tokenizer cannot be read ({_first_line(error)}); put the tokenizer's files into a folder "
            f"with the weights and use {LOCAL_PREFIX}FOLDER"
        ) from error
    preprocess: dict[str, Any] = open_clip.get_model_preprocess_cfg(clip)
    return OpenClipParts(
        model=clip,
        tokenizer=pieces,
        name=name,
        mean=tuple(preprocess["mean"]),
        std=tuple(preprocess["std"]),
        interpolation="bilinear" if preprocess.get("interpolation") == "bilinear" else "bicubic",
    )


def _closest(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.4) or known[:3]
    return f"closest: {', '.join(near)}" if near else "it has no tags; give a file"


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2]) or type(error).__name__
