"""Where a network's weights come from: a folder, the local hub cache, or the hub; and what to say when they do not.

Nothing here builds a network. The hub is asked only for files that are not in its cache, and only after a connection
could be made, because its client would otherwise retry for a minute on a machine without a network.
"""

import difflib
import json
import os
import socket
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import timm
from huggingface_hub import constants, hf_hub_download, try_to_load_from_cache
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from timm.models import get_pretrained_cfg

from leadpp.errors import WeightsError
from leadpp.models.builtin import LOCAL_PREFIX

HUB_PREFIX = "hf-hub:"
_WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")
_CONNECT_TIMEOUT_S = 5.0


def check_folder(folder: Path, *, weights: bool) -> None:
    """Check that a folder holds what timm reads: ``config.json`` and, if asked for, ``model.safetensors``.

    Raises:
        WeightsError: The folder or a file is missing, or ``config.json`` names no architecture that timm knows.
    """
    if not folder.is_dir():
        raise WeightsError(
            f"{folder}: no such folder; local-dir: expects a folder with config.json and {_WEIGHT_FILES[0]}"
        )
    architecture = _architecture(folder / "config.json")
    if not timm.is_model(architecture):
        raise WeightsError(f"{folder / 'config.json'}: {unknown_model(architecture)}")
    if weights and not any((folder / name).is_file() for name in _WEIGHT_FILES):
        raise WeightsError(f"{folder / _WEIGHT_FILES[0]}: no such file; put the weights of {architecture!r} there")


def hub_folder(repo: str, *, weights: bool) -> Path:
    """Return the folder of the hub's cache that holds a repository's config and weights; fetch them if need be.

    Args:
        repo: For instance ``"timm/resnet50.tv_in1k"``, or with a revision, ``"timm/resnet50.tv_in1k@main"``.
        weights: Whether the weights are needed, or ``config.json`` alone.

    Raises:
        WeightsError: A file is neither in the cache nor to be had from the hub.
    """
    config = fetch_hub_file(repo, "config.json")
    return fetch_hub_weights(repo, None).parent if weights else config.parent


def fetch_hub_weights(repo: str, filename: str | None) -> Path:
    """Return the weight file of a hub repository, safetensors before anything else.

    Raises:
        WeightsError: None of the usual files is in the cache or to be had from the hub.
    """
    names = (filename,) if filename else _WEIGHT_FILES
    for name in names:
        if (cached := _cached(repo, name)) is not None:
            return cached
    for name in names[:-1]:
        try:
            return fetch_hub_file(repo, name)
        except _MissingHubFileError:
            continue
    return fetch_hub_file(repo, names[-1])


def fetch_hub_file(repo: str, filename: str) -> Path:
    """Return one file of a hub repository from the cache or, if it is not there, from the hub.

    Raises:
        WeightsError: It is in neither; says which file was looked for and how to get it.
    """
    if (cached := _cached(repo, filename)) is not None:
        return cached
    if not _hub_reachable():
        raise WeightsError(_not_to_be_had(repo, filename, f"{constants.ENDPOINT} cannot be reached"))
    name, revision = _split(repo)
    try:
        return Path(hf_hub_download(name, filename, revision=revision))
    except LocalEntryNotFoundError as error:
        raise WeightsError(_not_to_be_had(repo, filename, f"{constants.ENDPOINT} does not answer")) from error
    except EntryNotFoundError as error:
        raise _MissingHubFileError(_not_to_be_had(repo, filename, "the repository has no such file")) from error
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise WeightsError(_not_to_be_had(repo, filename, reason)) from error


def named_overlay(name: str) -> dict[str, Any]:
    """Return what timm must be told so that it reads the weights of a registered name from the cache.

    Args:
        name: A timm model with or without a tag, for instance ``"resnet50.tv_in1k"``.

    Returns:
        Entries for timm's ``pretrained_cfg_overlay``; empty where timm itself knows best (weights at a plain URL).

    Raises:
        WeightsError: timm has no weights under this name, or they are not to be had.
    """
    source = get_pretrained_cfg(name)
    if source is None or not source.has_weights:
        raise WeightsError(f"timm has no pretrained weights for {name!r}; {_closest(name, timm.list_pretrained())}")
    if not source.hf_hub_id or str(source.custom_load) == "hf":
        return {}
    return {"file": str(fetch_hub_weights(source.hf_hub_id, source.hf_hub_filename)), "custom_load": False}


def check_registered(name: str) -> None:
    """Check that timm knows a name and its tag.

    Raises:
        WeightsError: It does not; the closest names are shown.
    """
    if not timm.is_model(name):
        raise WeightsError(unknown_model(name))
    if "." in name and name not in timm.list_pretrained():
        raise WeightsError(unknown_model(name))


def unknown_model(name: str) -> str:
    """Say that timm does not know a name, with the closest names that it knows."""
    known = timm.list_pretrained() if "." in name else timm.list_models()
    return f"timm knows no model {name!r}; {_closest(name, known)}"


class _MissingHubFileError(WeightsError):
    """The repository is there and the file is not, so that another name may be tried."""


def _architecture(config: Path) -> str:
    try:
        content = json.loads(config.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise WeightsError(f"{config}: no such file; save the network with timm, which writes it") from error
    except (OSError, ValueError) as error:
        raise WeightsError(f"{config}: cannot be read as JSON ({error}); save the network with timm again") from error
    architecture = content.get("architecture") if isinstance(content, dict) else None
    if not isinstance(architecture, str):
        raise WeightsError(f"{config}: expected a timm config with an 'architecture', found none")
    return architecture


def _closest(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
    return f"closest: {', '.join(close)}" if close else "see timm.list_models() for the names"


def _split(repo: str) -> tuple[str, str | None]:
    name, _, revision = repo.partition("@")
    return name, revision or None


def _cached(repo: str, filename: str) -> Path | None:
    name, revision = _split(repo)
    try:
        found = try_to_load_from_cache(name, filename, revision=revision)
    except HFValidationError as error:
        raise WeightsError(f"{HUB_PREFIX}{repo}: not a repository name; expected OWNER/NAME") from error
    return Path(found) if isinstance(found, str) else None


def _hub_reachable() -> bool:
    if constants.HF_HUB_OFFLINE:
        return False
    if any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")):
        return True
    address = urlsplit(constants.ENDPOINT)
    try:
        with socket.create_connection((address.hostname or "", address.port or 443), timeout=_CONNECT_TIMEOUT_S):
            return True
    except OSError:
        return False


def _not_to_be_had(repo: str, filename: str, reason: str) -> str:
    return (
        f"looked for {filename} of hub repository {repo!r}: not in {constants.HF_HUB_CACHE}, and {reason}; "
        f"on a connected machine run `hf download {_split(repo)[0]} --local-dir FOLDER`, copy FOLDER here and use "
        f"{LOCAL_PREFIX}FOLDER"
    )
