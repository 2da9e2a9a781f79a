import contextlib
import math
import zipfile
from pathlib import Path
from typing import Literal

import pytest
import torch
from torch import Tensor

from leadpp.errors import ArtifactError, TextError
from leadpp.text.exchange import open_spaces, pick_space, read_reference_prototypes, write_reference_prototypes
from leadpp.text.prototypes import Prototypes, write_prototypes


def _rows(count: int = 3, dim: int = 4) -> Tensor:
    rows = torch.randn(count, dim, generator=torch.Generator().manual_seed(1))
    return torch.nn.functional.normalize(rows, dim=1)


def _reference(folder: Path, content: object) -> Path:
    path = folder / "bird_text_tensor.pt"
    torch.save(content, path)
    return path


def test_reference_rows_keep_their_direction_and_become_unit_in_float32(tmp_path: Path) -> None:
    rough = (_rows(5, 64) * torch.linspace(0.9990, 1.0010, 5)[:, None]).half()
    read = read_reference_prototypes(_reference(tmp_path, rough))
    assert read.vectors.dtype == torch.float32
    assert read.names is None
    lengths = sorted(math.sqrt(math.fsum(value * value for value in source)) for source in rough.tolist())
    known = f"5 x 64 float16, rows {lengths[0]:.4f} to {lengths[-1]:.4f} long, no names inside"
    assert read.made == f"the .pt file bird_text_tensor.pt: {known}"
    for row, source in zip(read.vectors.tolist(), rough.tolist(), strict=True):
        length = math.sqrt(math.fsum(value * value for value in source))
        assert row == pytest.approx([value / length for value in source], abs=1e-7)
        assert math.fsum(value * value for value in row) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (torch.tensor([[1.0, 0.0], [0.0, 0.0]]), "1 of 2 rows are no direction: row 1 is zero"),
        (torch.tensor([[math.nan, 0.0], [0.0, 1.0]]), "1 of 2 rows are no direction: row 0 is NaN or infinite"),
        (torch.tensor([[1.0, 0.0], [math.inf, 1.0]]).half(), "row 1 is NaN or infinite"),
        (torch.ones(4), "found shape \\(4,\\)"),
        (torch.ones(2, 2, dtype=torch.int64), "of int64"),
        ({"text": torch.ones(2, 2)}, "found a dict"),
        ([torch.ones(2, 2)], "found a list"),
        (torch.eye(2).to_sparse(), "found a tensor of layout torch.sparse_coo"),
        (torch.eye(2, device="meta"), "found a tensor without values"),
        (torch.eye(2, dtype=torch.complex64), "of complex64"),
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


def test_a_tensor_beside_something_that_would_run_code_is_refused_unrun(tmp_path: Path) -> None:
    path = _reference(tmp_path, [torch.eye(3), _Trap(tmp_path / "ran")])
    with pytest.raises(TextError, match="not a tensor saved by torch"):
        read_reference_prototypes(path)
    assert not (tmp_path / "ran").exists()


def test_damaged_files_are_one_error_wherever_they_are_damaged(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(3)
    for zipped in (True, False):
        torch.save(torch.eye(3).half(), tmp_path / "whole.pt", _use_new_zipfile_serialization=zipped)
        whole = (tmp_path / "whole.pt").read_bytes()
        for _ in range(150):
            content = bytearray(whole)
            for place in torch.randint(len(content), (3,), generator=generator).tolist():
                content[place] = int(torch.randint(256, (), generator=generator))
            (tmp_path / "damaged.pt").write_bytes(content)
            with contextlib.suppress(TextError):
                read_reference_prototypes(tmp_path / "damaged.pt")


@pytest.mark.parametrize(("dtype", "within"), [("float16", 5e-4), ("float32", 1e-7)])
def test_what_is_written_is_one_bare_tensor_as_the_reference_has_it(
    tmp_path: Path, dtype: Literal["float16", "float32"], within: float
) -> None:
    made = Prototypes(vectors=_rows(5, 64), names=("F/A-18", "Cr\u00e8me", "c", "d d", "e"))
    lines = write_reference_prototypes(tmp_path / "bird.pt", made, dtype=dtype)
    content = torch.load(tmp_path / "bird.pt", weights_only=True)
    assert type(content) is Tensor
    assert (content.shape, content.dtype) == ((5, 64), getattr(torch, dtype))
    assert torch.allclose(content.float(), made.vectors, atol=within)
    assert lines == tmp_path / "bird.names.txt"
    (back,) = open_spaces(tmp_path / "bird.pt", names=lines)
    assert back.names == made.names
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bird.names.txt", "bird.pt"]


def test_the_same_prototypes_make_the_same_bytes_and_unknown_names_no_list(tmp_path: Path) -> None:
    made = Prototypes(vectors=_rows())
    assert write_reference_prototypes(tmp_path / "a.pt", made) is None
    assert write_reference_prototypes(tmp_path / "b.pth", made) is None
    assert (tmp_path / "a.pt").read_bytes() == (tmp_path / "b.pth").read_bytes()
    assert not (tmp_path / "a.names.txt").exists()


def test_what_cannot_be_written_is_refused_before_anything_is(tmp_path: Path) -> None:
    with pytest.raises(TextError, match=r"expected the name of a \.pt file"):
        write_reference_prototypes(tmp_path / "bird.npy", Prototypes(vectors=_rows()))
    for name in ("a\nb", " a"):
        with pytest.raises(TextError, match="does not fit on a line"):
            write_reference_prototypes(tmp_path / "a.pt", Prototypes(vectors=_rows(1), names=(name,)))
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtifactError, match="a file stands where a folder is meant"):
        write_reference_prototypes(tmp_path / "file" / "a.pt", Prototypes(vectors=_rows()))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_run_folder_stands_for_its_prototypes_and_names_for_all_spaces(tmp_path: Path) -> None:
    write_prototypes(
        tmp_path / "prototypes.safetensors", Prototypes(vectors=_rows()), Prototypes(vectors=_rows(dim=9), model="b")
    )
    (tmp_path / "names.txt").write_text("x\ny\nz\n")
    spaces = open_spaces(tmp_path, names=tmp_path / "names.txt")
    assert [space.names for space in spaces] == [("x", "y", "z")] * 2
    assert pick_space(spaces, 2, source=tmp_path).dim == 9
    for number in (0, 3):
        with pytest.raises(TextError, match=rf"has no space {number}; choose from 1 \(unknown\); 2 \(b\)"):
            pick_space(spaces, number, source=tmp_path)
    with pytest.raises(ArtifactError, match="no such file"):
        open_spaces(tmp_path / "..")
