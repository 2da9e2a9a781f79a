import json
import shutil
import time
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import open_clip
import open_clip.pretrained
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from leadpp.errors import WeightsError
from leadpp.models.openclip import open_clip_parts
from tests.unit.models.tiny_clip import MEAN, STD, tiny_config, tiny_model, write_tiny_clip

REPO = "some-owner/tiny-clip"


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture
def folder(tmp_path: Path, whole: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "clip"))


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty hub cache on a machine that is told to stay offline; returns the folder of one repository in it."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    repo = tmp_path / "hub" / f"models--{REPO.replace('/', '--')}"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text("abc", encoding="utf-8")
    (repo / "snapshots" / "abc").mkdir(parents=True)
    return repo / "snapshots" / "abc"


def _tag(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, **settings: object) -> None:
    """Teach open_clip a model ``tiny-clip`` with the tag ``made``."""
    config = tmp_path / "tiny-clip.json"
    config.write_text(json.dumps(tiny_config()), encoding="utf-8")
    monkeypatch.setattr(open_clip.factory, "_MODEL_CONFIG_PATHS", [*open_clip.factory._MODEL_CONFIG_PATHS])
    monkeypatch.setattr(open_clip.factory, "_MODEL_CONFIGS", {**open_clip.factory._MODEL_CONFIGS})
    open_clip.add_model_config(config)
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, "tiny-clip", {"made": settings})


def _embed(model: nn.Module) -> Tensor:
    pixels = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        clip: Any = model
        answer: Tensor = clip.encode_image(pixels)
    return answer


def _alike(one: Tensor, other: Tensor) -> bool:
    return torch.allclose(one, other, atol=1e-5)


def test_a_folder_gives_its_own_weights_and_statistics(whole: Path) -> None:
    parts = open_clip_parts(f"local-dir:{whole}", "ignored")
    assert _alike(_embed(parts.model), _embed(tiny_model()))
    assert (parts.mean, parts.std) == (MEAN, STD)
    assert parts.name == f"local-dir:{whole}"
    assert parts.tokenizer.context_length == 12


def test_a_hub_repository_in_the_cache_is_read_offline(whole: Path, hub: Path) -> None:
    shutil.copytree(whole, hub, dirs_exist_ok=True)
    parts = open_clip_parts(f"hf-hub:{REPO}", "ignored")
    assert _alike(_embed(parts.model), _embed(tiny_model()))
    assert parts.name == f"hf-hub:{REPO}"


@pytest.mark.parametrize("text_tower", [{}, {"hf_tokenizer_name": "some-owner/words"}])
def test_the_hub_is_asked_for_a_tokenizer_only_if_it_holds_it(
    hub: Path, monkeypatch: pytest.MonkeyPatch, text_tower: dict[str, str]
) -> None:
    write_tiny_clip(hub, text_cfg={**tiny_config()["text_cfg"], **text_tower})
    asked: list[str] = []
    monkeypatch.setattr(open_clip, "get_tokenizer", asked.append)
    open_clip_parts(f"hf-hub:{REPO}", "")
    assert asked == [f"hf-hub:{REPO}" if text_tower else f"local-dir:{hub}"]


def test_a_tag_brings_its_activation_and_its_statistics(
    tmp_path: Path, whole: Path, hub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(whole, hub, dirs_exist_ok=True)
    _tag(monkeypatch, tmp_path, hf_hub=f"{REPO}/", quick_gelu=True, mean=(0.1, 0.1, 0.1), std=STD)
    parts = open_clip_parts("tiny-clip", "made")
    assert _alike(_embed(parts.model), _embed(tiny_model(quick_gelu=True)))
    assert not _alike(_embed(parts.model), _embed(tiny_model()))
    assert parts.mean == (0.1, 0.1, 0.1)
    assert parts.name == "tiny-clip/made"


def test_the_default_teacher_is_built_with_the_activation_it_was_trained_with() -> None:
    assert open_clip.get_pretrained_cfg("ViT-B-16", "openai")["quick_gelu"]
    assert not open_clip.get_model_config("ViT-B-16").get("quick_gelu", False)


def test_a_tag_may_name_one_file_of_a_repository(
    tmp_path: Path, whole: Path, hub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(whole / "open_clip_model.safetensors", hub / "special.safetensors")
    _tag(monkeypatch, tmp_path, hf_hub=f"{REPO}/special.safetensors")
    assert _alike(_embed(open_clip_parts("tiny-clip", "made").model), _embed(tiny_model()))


def test_a_file_of_weights_may_stand_in_for_the_tag(
    tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _tag(monkeypatch, tmp_path)
    parts = open_clip_parts("tiny-clip", str(whole / "open_clip_model.safetensors"))
    assert _alike(_embed(parts.model), _embed(tiny_model()))


def test_the_old_form_of_weights_is_found_where_there_is_no_safetensors(folder: Path) -> None:
    weights = folder / "open_clip_model.safetensors"
    torch.save(load_file(weights), folder / "open_clip_pytorch_model.bin")
    weights.unlink()
    assert _alike(_embed(open_clip_parts(f"local-dir:{folder}", "").model), _embed(tiny_model()))


def test_offline_without_weights_says_at_once_which_file_is_missing(hub: Path) -> None:
    started = time.monotonic()
    with pytest.raises(WeightsError) as caught:
        open_clip_parts("ViT-B-16", "openai")
    assert time.monotonic() - started < 5
    message = str(caught.value)
    assert "looked for open_clip_model.safetensors" in message
    assert "'timm/vit_base_patch16_clip_224.openai'" in message
    assert "local-dir:FOLDER" in message
    assert "\n" not in message
    with pytest.raises(
        WeightsError, match=r"looked for open_clip_config\.json of hub repository 'some-owner/tiny-clip'"
    ):
        open_clip_parts(f"hf-hub:{REPO}", "")
    shutil.copy(write_tiny_clip(hub.parent / "other") / "open_clip_config.json", hub)
    with pytest.raises(WeightsError, match=r"looked for open_clip_model\.safetensors"):
        open_clip_parts(f"hf-hub:{REPO}", "")


def test_a_tag_at_a_plain_address_that_cannot_be_had_names_the_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = (tmp_path / "absent.pt").as_uri()
    monkeypatch.setenv("HOME", str(tmp_path))
    _tag(monkeypatch, tmp_path, url=address)
    with pytest.raises(WeightsError, match=r"give its path as teacher\.pretrained") as caught:
        open_clip_parts("tiny-clip", "made")
    assert address in str(caught.value)


def test_unknown_names_and_tags_show_the_closest() -> None:
    with pytest.raises(WeightsError, match=r"no model 'ViT-B-16s'; closest: ViT-B-16"):
        open_clip_parts("ViT-B-16s", "openai")
    with pytest.raises(WeightsError, match=r"'opena' is neither a file nor a tag of .*ViT-B-16; closest: openai"):
        open_clip_parts("ViT-B-16", "opena")
    with pytest.raises(WeightsError, match=r"'' is neither a file nor a tag"):
        open_clip_parts("ViT-B-16", "")


def test_a_missing_folder_or_file_is_named(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(
        WeightsError, match=r"absent: no such folder; local-dir: expects a folder with open_clip_config"
    ):
        open_clip_parts(f"local-dir:{tmp_path / 'absent'}", "")
    (folder / "open_clip_model.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"open_clip_model\.safetensors: no such file"):
        open_clip_parts(f"local-dir:{folder}", "")
    (folder / "open_clip_config.json").unlink()
    with pytest.raises(WeightsError, match=r"open_clip_config\.json: no such file"):
        open_clip_parts(f"local-dir:{folder}", "")


@pytest.mark.parametrize(
    ("content", "message"),
    [("{", "cannot be read as JSON"), ("[]", "expected an open_clip config"), ('{"a": 1}', "with 'model_cfg'")],
)
def test_a_config_that_is_none_is_refused(folder: Path, content: str, message: str) -> None:
    (folder / "open_clip_config.json").write_text(content, encoding="utf-8")
    with pytest.raises(WeightsError, match=message):
        open_clip_parts(f"local-dir:{folder}", "")


def test_weights_of_another_model_are_refused_and_the_tensor_is_named(folder: Path) -> None:
    state = load_file(folder / "open_clip_model.safetensors")
    state["visual.ln_post.wider"] = torch.ones(3)
    del state["visual.ln_post.weight"]
    save_file(state, folder / "open_clip_model.safetensors")
    with pytest.raises(WeightsError, match=r"visual\.ln_post\.weight") as caught:
        open_clip_parts(f"local-dir:{folder}", "")
    assert "\n" not in str(caught.value)


def test_truncated_weights_are_refused(folder: Path) -> None:
    weights = folder / "open_clip_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(WeightsError, match="do not make the model"):
        open_clip_parts(f"local-dir:{folder}", "")


def test_a_config_that_makes_no_model_is_refused(folder: Path) -> None:
    config = json.loads((folder / "open_clip_config.json").read_text())
    del config["model_cfg"]["text_cfg"]
    (folder / "open_clip_config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(WeightsError, match="do not make the model"):
        open_clip_parts(f"local-dir:{folder}", "")


def test_a_tokenizer_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    text = {**tiny_config()["text_cfg"], "hf_tokenizer_name": "some-owner/words"}
    folder = write_tiny_clip(tmp_path / "clip", text_cfg=text)
    with pytest.raises(WeightsError, match="its tokenizer cannot be read"):
        open_clip_parts(f"local-dir:{folder}", "")
