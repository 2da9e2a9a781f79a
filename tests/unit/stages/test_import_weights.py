from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from leadpp.config import build_config, read_yaml
from leadpp.engine.encoders import student_encoder
from leadpp.engine.plan import LoopPlan
from leadpp.engine.restore import load_student
from leadpp.engine.runtime import SilentProgress
from leadpp.engine.step import StepPlan
from leadpp.engine.trainer import Trainer
from leadpp.errors import ArtifactError, CheckpointError
from leadpp.functional.objective import Objective
from leadpp.functional.randomness import generator_for
from leadpp.io.artifacts import file_digest, read_json
from leadpp.io.ledger import newest_checkpoint
from leadpp.models.backbone import create_backbone
from leadpp.stages.import_weights import TextSpace, import_weights
from tests.unit.foreign import KEYS, Momentum, feature_map, foreign_network, normalized, state_of
from tests.unit.tiny import tiny_learner


class Notes(SilentProgress):
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, message: str) -> None:
        self.lines.append(message)


@pytest.fixture(scope="module")
def models() -> dict[str, nn.Module]:
    network = foreign_network()
    return {
        "reference": Momentum(network, dim=16, reference=True),
        "moco": Momentum(network, dim=8, reference=False),
        "network": network,
    }


@pytest.fixture(scope="module")
def files(models: dict[str, nn.Module], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The files as their programs save them: with epoch and optimizer, and for torchvision's as in 2017."""
    folder = tmp_path_factory.mktemp("foreign")
    paths = {name: folder / f"{name}.pth" for name in models}
    for name in ("reference", "moco"):
        optimizer = torch.optim.SGD(models[name].parameters(), lr=0.1)
        content = {"epoch": 100, "state_dict": state_of(models[name]), "optimizer": optimizer.state_dict()}
        torch.save(content, paths[name])
    torch.save(state_of(models["network"], prefix=""), paths["network"], _use_new_zipfile_serialization=False)
    return paths


def pictures() -> Tensor:
    """Pictures of whole levels, as photographs are."""
    return torch.randint(0, 256, (2, 3, 64, 64), generator=generator_for(6, "pictures"), dtype=torch.uint8)


def features(run: Path, name: str = "resnet18.tv_in1k") -> dict[str, Tensor]:
    encoder = student_encoder(run, backbone=name, device=torch.device("cpu"))
    assert encoder is not None
    with torch.no_grad():
        return dict(encoder.encode(pictures()))


def test_the_references_checkpoint_evaluates_as_the_reference_does(
    models: dict[str, nn.Module], files: dict[str, Path], tmp_path: Path
) -> None:
    run, model = tmp_path / "run", models["reference"]
    assert isinstance(model, Momentum)
    import_weights(files["reference"], run)
    found = features(run)
    with torch.no_grad():
        seen = feature_map(model.encoder_q, normalized(pictures() / 255))
        raw = model.bn16(model.conv16(seen)).relu().amax(dim=1)
        attention = (raw - raw.min()) / (1e-7 + (raw - raw.min()).max())
        expected = {
            "gap": seen.mean(dim=(2, 3)),
            "attention": F.normalize((seen * attention[:, None]).mean(dim=(2, 3)), dim=1),
            "embedding": F.normalize(model.encoder_q(normalized(pictures() / 255)), dim=1),
        }
    assert list(found) == list(expected)
    for name, values in expected.items():
        torch.testing.assert_close(found[name], values, rtol=1e-4, atol=1e-5 * float(values.abs().max()))


@pytest.mark.parametrize(
    ("kind", "named", "expected"),
    [
        ("reference", True, ["gap", "attention", "embedding"]),
        ("moco", False, ["gap", "embedding"]),
        ("network", False, ["gap"]),
    ],
)
def test_what_is_not_in_the_checkpoint_is_not_measured(
    files: dict[str, Path], tmp_path: Path, kind: str, named: bool, expected: list[str]
) -> None:
    import_weights(files[kind], tmp_path / "run")
    encoder = student_encoder(tmp_path / "run", backbone="resnet18.tv_in1k", device=torch.device("cpu"))
    assert encoder is not None
    assert (encoder.names_classes, encoder.measured) == (named, tuple(n for n in expected if n != "embedding"))
    assert list(features(tmp_path / "run")) == expected
    assert encoder.facts["imported"].endswith(f"{kind}.pth (BLAKE2b {file_digest(files[kind])})")


def test_the_run_folder_says_what_it_is(files: dict[str, Path], tmp_path: Path) -> None:
    run, told = tmp_path / "run", Notes()
    result = import_weights(files["reference"], run, progress=told)
    assert {path.name for path in run.iterdir()} == {"backbone", "checkpoints", "config.yaml", "import.json"}
    path = newest_checkpoint(run / "checkpoints")
    assert path is not None
    assert path.name == "epoch-0100.safetensors"
    config = build_config(read_yaml(run / "config.yaml"))
    assert (config.preset, config.student.backbone, config.evaluate.encoders) == (
        "paper",
        "resnet18.tv_in1k",
        ("student",),
    )
    facts = read_json(run / "import.json", kind="import")
    assert facts == {name: value for name, value in result.items() if name != "out"}
    assert facts["blake2b"] == file_digest(files["reference"])
    assert facts["left_out"] == ["the key encoder", f"queue of {KEYS} keys", f"queue2 of {KEYS} keys", "optimizer"]
    assert facts["drawn"] == []
    assert told.lines[-1] == "its embedding lies in the space of CLIP's texts, so that prototypes name"
    student, metadata = load_student(path)
    assert (student.attention_scaling, student.batchnorm, metadata["epoch"]) == ("batch", "train", 100)


def test_the_backbone_can_begin_another_training(
    models: dict[str, nn.Module], files: dict[str, Path], tmp_path: Path
) -> None:
    import_weights(files["network"], tmp_path / "run")
    backbone = create_backbone(f"local-dir:{tmp_path / 'run' / 'backbone'}")
    with torch.no_grad():
        expected = feature_map(models["network"], normalized(pictures() / 255))
        torch.testing.assert_close(backbone(pictures()), expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))


def test_heads_that_are_drawn_follow_the_seed(files: dict[str, Path], tmp_path: Path) -> None:
    heads: list[dict[str, Any]] = []
    for place, seed in enumerate((0, 0, 1)):
        import_weights(files["network"], tmp_path / str(place), seed=seed)
        path = newest_checkpoint(tmp_path / str(place) / "checkpoints")
        assert path is not None
        student, metadata = load_student(path)
        assert metadata["drawn"] == ["projector", "attention"]
        heads.append({**student.projector.state_dict(), **student.attention.state_dict()})
    assert all(torch.equal(heads[0][name], heads[1][name]) for name in heads[0])
    assert not torch.equal(heads[0]["conv.weight"], heads[2]["conv.weight"])


@pytest.mark.parametrize(("kind", "word", "named"), [("reference", "no", False), ("moco", "yes", True)])
def test_whose_embedding_names_can_be_said(
    files: dict[str, Path], tmp_path: Path, kind: str, word: TextSpace, named: bool
) -> None:
    assert import_weights(files[kind], tmp_path / "run", text_space=word)["names_classes"] is named


def test_a_network_without_projector_cannot_name(files: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="it has no projector"):
        import_weights(files["network"], tmp_path / "run", text_space="yes")
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_written_where_it_fails(files: dict[str, Path], tmp_path: Path) -> None:
    broken = tmp_path / "broken.pth"
    torch.save({"conv1.weight": torch.ones(2)}, broken)
    with pytest.raises(CheckpointError, match="expected a ResNet of torchvision"):
        import_weights(broken, tmp_path / "run")
    assert list(tmp_path.iterdir()) == [broken]


def test_a_folder_that_holds_something_is_left_alone(files: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "keep.txt").write_text("mine")
    with pytest.raises(ArtifactError, match="expected a new or empty folder"):
        import_weights(files["moco"], tmp_path)
    with pytest.raises(ArtifactError, match="a file stands where the run folder is meant"):
        import_weights(files["moco"], tmp_path / "keep.txt")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]


def test_an_empty_folder_is_filled(files: dict[str, Path], tmp_path: Path) -> None:
    assert import_weights(files["moco"], tmp_path)["out"] == str(tmp_path)
    assert (tmp_path / "import.json").is_file()


def test_no_training_goes_on_from_it(files: dict[str, Path], tmp_path: Path) -> None:
    import_weights(files["moco"], tmp_path / "run")
    trainer = Trainer(
        tiny_learner(Objective()),
        objective=Objective(),
        order=StepPlan(),
        loop=LoopPlan(epochs=1, batch_size=4),
        lessons=None,
        run=tmp_path / "run",
        metadata={},
        progress=SilentProgress(),
    )
    with pytest.raises(CheckpointError, match="it was imported without the state of a training"):
        trainer.resume()
