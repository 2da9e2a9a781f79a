import contextlib
import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest
import timm
import torch
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
from safetensors.torch import load_file, save_file
from torch import nn

from leadpp.errors import WeightsError
from leadpp.models import weights
from leadpp.models.backbone import Backbone, FeatureNetwork, create_backbone, parameter_stages
from tests.unit.tiny import save_tiny_network

MakeFolder = Callable[[str], Path]


@pytest.fixture(scope="session")
def make_folder(tmp_path_factory: pytest.TempPathFactory) -> MakeFolder:
    """Save a tiny timm network of fixed random weights as timm does; once per architecture."""
    made: dict[str, Path] = {}

    def make(architecture: str) -> Path:
        if architecture not in made:
            folder = tmp_path_factory.mktemp(architecture)
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(5)
                network = timm.create_model(architecture, num_classes=7)
            settings = {
                "mean": [0.1, 0.2, 0.3],
                "std": [0.5, 0.25, 0.125],
                "input_size": [3, 160, 160],
                "fixed_input_size": architecture == "test_vit",
            }
            config = {"architecture": architecture, "num_classes": 7, "pretrained_cfg": settings}
            (folder / "config.json").write_text(json.dumps(config))
            save_file(network.state_dict(), folder / "model.safetensors")
            made[architecture] = folder
        return made[architecture]

    return make


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("no network")

    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(socket, "create_connection", refuse)


def pictures(height: int = 64, width: int = 96) -> torch.Tensor:
    return torch.randint(0, 256, (2, 3, height, width), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def plain_network(folder: Path) -> nn.Module:
    """The network of a folder, put together without leadpp."""
    network: nn.Module = timm.create_model(
        json.loads((folder / "config.json").read_text())["architecture"], num_classes=7
    )
    network.load_state_dict(load_file(folder / "model.safetensors"))
    return network.eval()


def normalized(images: torch.Tensor) -> torch.Tensor:
    mean = torch.tensor([0.1, 0.2, 0.3]).view(1, 3, 1, 1)
    return (images.float() / 255 - mean) / torch.tensor([0.5, 0.25, 0.125]).view(1, 3, 1, 1)


@pytest.mark.parametrize("architecture", ["test_resnet", "test_efficientnet"])
def test_map_is_that_of_the_weights_and_statistics_of_the_folder(make_folder: MakeFolder, architecture: str) -> None:
    folder = make_folder(architecture)
    backbone = create_backbone(f"local-dir:{folder}")
    with torch.no_grad():
        actual = backbone(pictures())
        expected = plain_network(folder).forward_features(normalized(pictures()))  # type: ignore[operator]
    torch.testing.assert_close(actual, expected)
    assert actual.shape == (2, backbone.feature_dim, 2, 3)
    assert (backbone.input_size, backbone.training) == (160, False)


def test_vit_gives_its_patch_tokens_on_their_grid(make_folder: MakeFolder) -> None:
    folder = make_folder("test_vit")
    backbone = create_backbone(f"local-dir:{folder}")
    images = pictures(160, 160)
    with torch.no_grad():
        actual = backbone(images)
        tokens = plain_network(folder).forward_features(normalized(images))  # type: ignore[operator]
    assert actual.shape == (2, 64, 10, 10)
    torch.testing.assert_close(actual[0, :, 3, 7], tokens[0, 1 + 3 * 10 + 7])


def test_vit_reads_other_sizes_and_oblong_pictures(make_folder: MakeFolder) -> None:
    backbone = create_backbone(f"local-dir:{make_folder('test_vit')}")
    assert backbone(pictures(64, 96)).shape == (2, 64, 4, 6)


def test_vit_says_which_sizes_it_reads(make_folder: MakeFolder) -> None:
    backbone = create_backbone(f"local-dir:{make_folder('test_vit')}")
    with pytest.raises(WeightsError, match=r"16 x 16 pixels, got 96 x 70; choose a multiple of 16"):
        backbone(pictures(70, 96))


def test_channels_last_networks_are_permuted() -> None:
    backbone = create_backbone("swin_tiny_patch4_window7_224", pretrained=False)
    with torch.no_grad():
        images = pictures(64, 96)
        actual = backbone(images)
        plain = backbone.network.forward_features((images / 255 - backbone.mean) / backbone.std)
    assert actual.shape == (2, 768, 2, 3)
    torch.testing.assert_close(actual[1, :, 1, 2], plain[1, 1, 2])


def test_bytes_and_fractions_are_the_same_picture(make_folder: MakeFolder) -> None:
    backbone = create_backbone(f"local-dir:{make_folder('test_resnet')}")
    with torch.no_grad():
        torch.testing.assert_close(backbone(pictures()), backbone(pictures().float() / 255))


def test_gradients_reach_floating_point_pictures(make_folder: MakeFolder) -> None:
    backbone = create_backbone(f"local-dir:{make_folder('test_resnet')}")
    images = (pictures().float() / 255).requires_grad_()
    backbone(images).square().mean().backward()
    assert images.grad is not None
    assert images.grad.abs().sum() > 0


@pytest.mark.parametrize("architecture", ["test_resnet", "test_vit"])
def test_stages_go_from_fine_to_coarse_and_end_in_the_last_map(make_folder: MakeFolder, architecture: str) -> None:
    backbone = create_backbone(f"local-dir:{make_folder(architecture)}")
    with torch.no_grad():
        maps = backbone.forward_stages(pictures(), 3)
        torch.testing.assert_close(maps[-1], backbone(pictures()))
        torch.testing.assert_close(backbone.forward_stages(pictures(), 1)[0], maps[-1])
    sides = [tuple(each.shape[2:]) for each in maps]
    assert sides == ([(4, 6)] * 3 if architecture == "test_vit" else [(8, 12), (4, 6), (2, 3)])


def test_stages_end_before_a_head_convolution(make_folder: MakeFolder) -> None:
    folder = make_folder("test_efficientnet")
    backbone = create_backbone(f"local-dir:{folder}")
    network = plain_network(folder)
    outputs: list[torch.Tensor] = []
    hook = network.get_submodule("blocks").register_forward_hook(lambda _, __, output: outputs.append(output))
    with torch.no_grad():
        network(normalized(pictures()))
        (last,) = backbone.forward_stages(pictures(), 1)
    hook.remove()
    torch.testing.assert_close(last, outputs[0])
    assert last.shape[1] != backbone.feature_dim


def test_too_many_stages_are_refused(make_folder: MakeFolder) -> None:
    backbone = create_backbone(f"local-dir:{make_folder('test_resnet')}")
    with pytest.raises(WeightsError, match="does not have 9 feature maps"):
        backbone.forward_stages(pictures(), 9)


class OneMap(nn.Module):
    """A network of one feature map, and no more, as older timm networks are."""

    def __init__(self, output: object) -> None:
        super().__init__()
        self.pretrained_cfg = {"mean": [0.0] * 3, "std": [1.0] * 3, "input_size": [3, 8, 8]}
        self.num_features = 3
        self.output = output

    def forward_features(self, images: torch.Tensor) -> object:
        return images if self.output is None else self.output


def test_network_without_intermediates_has_one_stage() -> None:
    backbone = Backbone(cast("FeatureNetwork", OneMap(None)), name="plain")
    images = torch.rand(1, 3, 4, 4)
    torch.testing.assert_close(backbone.forward_stages(images, 1)[0], images)
    with pytest.raises(WeightsError, match="plain gives only its last feature map, not the last 2; use stages 1"):
        backbone.forward_stages(images, 2)


@pytest.mark.parametrize("output", [[torch.zeros(1)], torch.zeros(1, 3)])
def test_network_without_one_map_is_refused(output: object) -> None:
    backbone = Backbone(cast("FeatureNetwork", OneMap(output)), name="odd")
    with pytest.raises(WeightsError, match="odd gives no single feature map"):
        backbone(torch.zeros(1, 3, 4, 4))


def test_classifier_is_taken_off_and_statistics_stay_out_of_the_state(make_folder: MakeFolder) -> None:
    backbone = create_backbone(f"local-dir:{make_folder('test_resnet')}")
    names = set(backbone.state_dict())
    assert "network.conv1.0.weight" in names
    assert not any("fc." in name or name in {"mean", "std"} for name in names)


def test_relative_folders_are_read(make_folder: MakeFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_folder("test_resnet")
    monkeypatch.chdir(folder.parent)
    assert isinstance(create_backbone(f"local-dir:{folder.name}"), Backbone)


def test_creating_leaves_the_global_generator_alone(make_folder: MakeFolder) -> None:
    before = torch.random.get_rng_state()
    create_backbone(f"local-dir:{make_folder('test_resnet')}")
    create_backbone("test_resnet", pretrained=False)
    assert torch.equal(before, torch.random.get_rng_state())


def test_unknown_name_shows_the_closest() -> None:
    with pytest.raises(WeightsError, match=r"no model 'resnet5O'; closest: .*resnet50"):
        create_backbone("resnet5O")


def test_unknown_tag_shows_the_closest() -> None:
    with pytest.raises(WeightsError, match=r"no model 'resnet50.tv_in2k'; closest: .*resnet50.tv2?_in1k"):
        create_backbone("resnet50.tv_in2k", pretrained=False)


def test_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="nowhere: no such folder"):
        create_backbone(f"local-dir:{tmp_path / 'nowhere'}")


def test_missing_config_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"config.json: no such file"):
        create_backbone(f"local-dir:{tmp_path}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot be read as JSON"),
        ("[1]", "expected a timm config"),
        ('{"architecture": "resnet5O"}', "config.json: timm knows no model 'resnet5O'; closest: .*resnet50"),
    ],
)
def test_odd_config_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(WeightsError, match=message):
        create_backbone(f"local-dir:{tmp_path}")


def test_missing_weights_are_named_unless_a_checkpoint_follows(make_folder: MakeFolder, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text((make_folder("test_resnet") / "config.json").read_text())
    with pytest.raises(WeightsError, match=r"model.safetensors: no such file; put the weights of 'test_resnet' there"):
        create_backbone(f"local-dir:{tmp_path}")
    assert create_backbone(f"local-dir:{tmp_path}", pretrained=False).feature_dim == 96


def test_truncated_weights_are_named(make_folder: MakeFolder, tmp_path: Path) -> None:
    folder = make_folder("test_resnet")
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:5000])
    with pytest.raises(WeightsError, match=f"{tmp_path}: the weights cannot be read"):
        create_backbone(f"local-dir:{tmp_path}")


def test_weights_of_another_architecture_name_the_first_tensor(make_folder: MakeFolder, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text((make_folder("test_resnet") / "config.json").read_text())
    (tmp_path / "model.safetensors").write_bytes((make_folder("test_efficientnet") / "model.safetensors").read_bytes())
    with pytest.raises(WeightsError, match=r"has no tensor 'conv1.0.weight'; it belongs to another architecture"):
        create_backbone(f"local-dir:{tmp_path}")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("drop", "has no tensor 'layer1.0.conv1.weight'"),
        ("add", "has an unknown tensor 'extra.weight'"),
        ("cut", "has another shape for tensor 'layer1.0.conv1.weight'"),
    ],
)
def test_one_odd_tensor_is_named(make_folder: MakeFolder, tmp_path: Path, change: str, message: str) -> None:
    folder = make_folder("test_resnet")
    state = load_file(folder / "model.safetensors")
    if change == "drop":
        del state["layer1.0.conv1.weight"]
    elif change == "add":
        state["extra.weight"] = torch.zeros(1)
    else:
        state["layer1.0.conv1.weight"] = state["layer1.0.conv1.weight"][:1].clone()
    save_file(state, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    with pytest.raises(WeightsError, match=message):
        create_backbone(f"local-dir:{tmp_path}")


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("name", ["resnet18.a1_in1k", "hf-hub:timm/resnet18.a1_in1k"])
def test_weights_out_of_reach_say_what_was_looked_for_and_how_to_get_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(WeightsError, match=r"timm/resnet18.a1_in1k.*cannot be reached.*hf download.*local-dir:FOLDER"):
        create_backbone(name)


@pytest.mark.usefixtures("offline")
def test_what_the_hub_cache_holds_is_read_without_a_network(
    make_folder: MakeFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_folder("test_resnet")
    monkeypatch.setattr(weights, "try_to_load_from_cache", lambda _, name, **__: str(folder / name))
    backbone = create_backbone("hf-hub:somebody/tiny")
    assert backbone.name == "hf-hub:somebody/tiny"
    expected = load_file(folder / "model.safetensors")["conv1.0.weight"]
    torch.testing.assert_close(backbone.state_dict()["network.conv1.0.weight"], expected)

    state = timm.create_model("test_resnet", num_classes=1000).state_dict()
    save_file(state, tmp_path / "model.safetensors")
    monkeypatch.setattr(weights, "try_to_load_from_cache", lambda _, name, **__: str(tmp_path / name))
    named = create_backbone("test_resnet.r160_in1k")
    torch.testing.assert_close(named.state_dict()["network.conv1.0.weight"], state["conv1.0.weight"])


def test_name_without_any_weights_is_refused() -> None:
    with_weights = {name.split(".")[0] for name in timm.list_pretrained()}
    name = next(name for name in timm.list_models() if name not in with_weights)
    with pytest.raises(WeightsError, match=f"no pretrained weights for '{name}'; closest: "):
        create_backbone(name)


@pytest.mark.usefixtures("offline")
def test_proxies_and_offline_mode_decide_before_a_connection_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def download(repo: str, name: str, *, revision: str | None) -> str:
        asked.append(f"{repo}/{name}@{revision}")
        if name == "model.safetensors":
            raise EntryNotFoundError("404")
        return f"/cache/{name}"

    monkeypatch.setattr(weights, "try_to_load_from_cache", lambda *_, **__: None)
    monkeypatch.setattr(weights, "hf_hub_download", download)
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:3128")
    assert weights.fetch_hub_weights("a/b@v2", None) == Path("/cache/pytorch_model.bin")
    assert asked == ["a/b/model.safetensors@v2", "a/b/pytorch_model.bin@v2"]
    with pytest.raises(WeightsError, match=r"looked for model.safetensors of hub repository 'a/b'.*no such file"):
        weights.fetch_hub_weights("a/b", "model.safetensors")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsError, match="cannot be reached"):
        weights.fetch_hub_file("a/b", "config.json")


@pytest.mark.parametrize(
    ("error", "message"),
    [(LocalEntryNotFoundError("gone"), "does not answer"), (OSError("disk on fire.\nmore"), "disk on fire; on a")],
)
def test_failing_downloads_are_one_line(error: Exception, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def download(*_: object, **__: object) -> str:
        raise error

    monkeypatch.setattr(weights, "try_to_load_from_cache", lambda *_, **__: None)
    monkeypatch.setattr(weights, "hf_hub_download", download)
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:3128")
    with pytest.raises(WeightsError, match=message):
        weights.fetch_hub_file("a/b", "config.json")


def test_hub_is_asked_where_it_can_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    addresses: list[tuple[str, int]] = []

    def connect(address: tuple[str, int], *, timeout: float) -> contextlib.nullcontext[None]:
        addresses.append(address)
        assert timeout <= 10
        return contextlib.nullcontext()

    monkeypatch.setattr(socket, "create_connection", connect)
    monkeypatch.setattr(weights, "try_to_load_from_cache", lambda *_, **__: None)
    monkeypatch.setattr(weights, "hf_hub_download", lambda _, name, **__: f"/cache/{name}")
    assert weights.fetch_hub_file("a/b", "config.json") == Path("/cache/config.json")
    assert addresses == [("huggingface.co", 443)]


def test_odd_repository_names_are_refused() -> None:
    with pytest.raises(WeightsError, match="hf-hub:a/b/c: not a repository name"):
        create_backbone("hf-hub:a/b/c")


@pytest.mark.parametrize(
    ("architecture", "beginnings"),
    [
        ("test_resnet", ("conv1.0", "layer1", "layer2", "layer3", "layer4")),
        ("test_vit", ("cls_token", *[f"blocks.{number}." for number in range(6)])),
    ],
)
def test_stages_of_weights(architecture: str, beginnings: tuple[str, ...], tmp_path: Path) -> None:
    backbone = create_backbone(save_tiny_network(tmp_path / architecture, architecture=architecture))
    names = {id(weight): name.removeprefix("network.") for name, weight in backbone.named_parameters()}
    stages = [[names[id(weight)] for weight in stage] for stage in parameter_stages(backbone)]
    assert sorted(name for stage in stages for name in stage) == sorted(names.values())
    assert len(stages) == len(beginnings)
    for stage, beginning in zip(stages, beginnings, strict=True):
        assert stage[0].startswith(beginning)
