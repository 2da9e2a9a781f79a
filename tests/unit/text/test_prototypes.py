import math
import zipfile
from pathlib import Path

import pytest
import torch
from torch import Tensor

from leadpp.errors import ArtifactError, TextError
from leadpp.io.artifacts import write_tensors
from leadpp.text.exchange import read_reference_prototypes
from leadpp.text.prototypes import Prototypes, read_prototypes, unit_rows, write_prototypes


def _rows(count: int = 3, dim: int = 4) -> Tensor:
    rows = torch.randn(count, dim, generator=torch.Generator().manual_seed(1))
    return torch.nn.functional.normalize(rows, dim=1)


def _reference(folder: Path, content: object) -> Path:
    path = folder / "bird_text_tensor.pt"
    torch.save(content, path)
    return path


def test_everything_written_is_read_back(tmp_path: Path) -> None:
    made = Prototypes(
        vectors=_rows(),
        names=("F/A-18", "Crème", "c"),
        texts=(("x",), ("y", "v", "w"), ("z", "x")),
        model="ViT-B-16/openai",
        made="names",
        long_text="split",
        template="a {}",
    )
    write_prototypes(tmp_path / "prototypes.safetensors", made)
    back = read_prototypes(tmp_path / "prototypes.safetensors")
    assert torch.equal(back.vectors, made.vectors)
    for field in ("names", "texts", "model", "made", "long_text", "template"):
        assert getattr(back, field) == getattr(made, field)


def test_files_of_one_text_a_class_are_still_read(tmp_path: Path) -> None:
    metadata = {"names": ["a", "b", "c"], "texts": ["xyz", "y", "z"], "model": "ViT-B-16/openai", "made": "names"}
    write_tensors(tmp_path / "old.safetensors", {"prototypes": _rows()}, kind="prototypes", metadata=metadata)
    back = read_prototypes(tmp_path / "old.safetensors")
    assert back.texts == (("xyz",), ("y",), ("z",))
    assert torch.equal(back.vectors, _rows())


def test_unknown_names_and_texts_stay_unknown(tmp_path: Path) -> None:
    write_prototypes(tmp_path / "p.safetensors", Prototypes(vectors=_rows()))
    back = read_prototypes(tmp_path / "p.safetensors")
    assert (back.names, back.texts, back.template) == (None, None, None)


def test_order_and_names_follow_the_vectors() -> None:
    made = Prototypes(vectors=_rows(), names=("a", "b", "c"), texts=(("x",), ("y",), ("z", "w")))
    turned = made.ordered((2, 0))
    assert torch.equal(turned.vectors, torch.stack([made.vectors[2], made.vectors[0]]))
    assert turned.names == ("c", "a")
    assert turned.texts == (("z", "w"), ("x",))
    assert turned.named(["C", "A"]).names == ("C", "A")
    assert Prototypes(vectors=_rows()).ordered((1,)).names is None


def test_counts_must_agree() -> None:
    with pytest.raises(TextError, match="2 names for 3 prototypes"):
        Prototypes(vectors=_rows()).named(["a", "b"])
    with pytest.raises(TextError, match="4 sets of texts for 3 prototypes"):
        Prototypes(vectors=_rows(), texts=(("w",), ("x",), ("y",), ("z",)))
    with pytest.raises(TextError, match="prototype 2 has no text"):
        Prototypes(vectors=_rows(), texts=(("w", "x"), (), ("y",)))
    with pytest.raises(TextError, match="'b c' and 'b_c' are the same"):
        Prototypes(vectors=_rows(), names=("a", "b c", "b_c"))


def test_the_width_is_checked_where_it_is_used() -> None:
    made = Prototypes(vectors=_rows(dim=4), model="ViT-B-16/openai")
    made.check_width(4, of="the teacher")
    with pytest.raises(TextError, match=r"made by ViT-B-16/openai\) are 4 wide, but the teacher is 512 wide"):
        made.check_width(512, of="the teacher")


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        (2 * torch.eye(3), "3 of 3 prototypes are not unit vectors, first row 0"),
        (torch.tensor([[1.0, 0.0], [math.nan, 0.0]]), "1 of 2 prototypes are not unit vectors, first row 1"),
        (torch.ones(3), "found shape \\(3,\\)"),
        (torch.ones(0, 3), "found shape \\(0, 3\\)"),
        (torch.ones(1, 1, dtype=torch.int64), "of int64"),
    ],
)
def test_what_is_no_set_of_unit_vectors_is_refused(tmp_path: Path, vectors: Tensor, message: str) -> None:
    with pytest.raises(TextError, match=message):
        Prototypes(vectors=vectors)
    path = tmp_path / "p.safetensors"
    write_tensors(path, {"prototypes": vectors}, kind="prototypes")
    with pytest.raises(TextError, match=message) as caught:
        read_prototypes(path)
    assert str(path) in str(caught.value)


def test_files_of_another_kind_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no such file"):
        read_prototypes(tmp_path / "absent.safetensors")
    write_tensors(tmp_path / "l.safetensors", {"mean": torch.ones(2)}, kind="localizer")
    with pytest.raises(ArtifactError, match="expected a file of kind 'prototypes', found 'localizer'"):
        read_prototypes(tmp_path / "l.safetensors")
    write_tensors(tmp_path / "m.safetensors", {"mean": torch.ones(2)}, kind="prototypes")
    with pytest.raises(TextError, match=r"expected a tensor 'prototypes', found \['mean'\]"):
        read_prototypes(tmp_path / "m.safetensors")


def test_reference_rows_keep_their_direction_and_become_unit_in_float32(tmp_path: Path) -> None:
    rough = (_rows(5, 64) * torch.linspace(0.9990, 1.0010, 5)[:, None]).half()
    read = read_reference_prototypes(_reference(tmp_path, rough))
    assert read.vectors.dtype == torch.float32
    assert read.names is None
    for row, source in zip(read.vectors.tolist(), rough.tolist(), strict=True):
        length = math.sqrt(math.fsum(value * value for value in source))
        assert row == pytest.approx([value / length for value in source], abs=1e-7)
        assert math.fsum(value * value for value in row) == pytest.approx(1, abs=1e-6)


def test_a_length_that_half_precision_cannot_hold_is_measured_in_float32() -> None:
    assert torch.allclose(unit_rows(torch.full((2, 4), 6e4, dtype=torch.float16)), torch.full((2, 4), 0.5))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (torch.tensor([[1.0, 0.0], [0.0, 0.0]]), "1 of 2 rows are no direction: row 1 is zero"),
        (torch.tensor([[math.nan, 0.0], [0.0, 1.0]]), "1 of 2 rows are no direction: row 0 is NaN or infinite"),
        (torch.tensor([[1.0, 0.0], [math.inf, 1.0]]).half(), "row 1 is NaN or infinite"),
        (torch.ones(4), "found shape \\(4,\\)"),
        (torch.ones(2, 2, dtype=torch.int64), "of int64"),
        ({"text": torch.ones(2, 2)}, "found a dict"),
    ],
)
def test_reference_files_that_hold_no_directions_are_refused(tmp_path: Path, content: object, message: str) -> None:
    path = _reference(tmp_path, content)
    with pytest.raises(TextError, match=message) as caught:
        read_reference_prototypes(path)
    assert str(path) in str(caught.value)


def test_a_file_written_on_a_gpu_is_read_without_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(torch.serialization, "location_tag", lambda storage: "cuda:0")
        path = _reference(tmp_path, torch.eye(3).half())
    assert torch.equal(read_reference_prototypes(path).vectors, torch.eye(3))


class _Trap:
    """An object that would make a file when it is unpickled without care."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.target,)


def test_a_file_that_would_run_code_is_refused_unrun(tmp_path: Path) -> None:
    path = _reference(tmp_path, _Trap(tmp_path / "ran"))
    with pytest.raises(TextError, match="not a tensor saved by torch"):
        read_reference_prototypes(path)
    assert not (tmp_path / "ran").exists()


def test_files_that_are_no_torch_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TextError, match="no such file"):
        read_reference_prototypes(tmp_path / "absent.pt")
    whole = _reference(tmp_path, torch.eye(3)).read_bytes()
    for name, content in (
        ("cut.pt", whole[: len(whole) // 2]),
        ("words.pt", b"class name,description\n"),
        ("e.pt", b""),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(TextError, match="not a tensor saved by torch"):
            read_reference_prototypes(tmp_path / name)
    with zipfile.ZipFile(tmp_path / "zip.pt", "w") as archive:
        archive.writestr("a", "b")
    with pytest.raises(TextError, match="not a tensor saved by torch"):
        read_reference_prototypes(tmp_path / "zip.pt")
