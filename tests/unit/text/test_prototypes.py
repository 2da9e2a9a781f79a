import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from leadpp.errors import ArtifactError, TextError
from leadpp.io.artifacts import read_tensors, write_tensors
from leadpp.text.prototypes import Prototypes, read_prototypes, read_spaces, unit_rows, write_prototypes


def _rows(count: int = 3, dim: int = 4) -> Tensor:
    rows = torch.randn(count, dim, generator=torch.Generator().manual_seed(1))
    return torch.nn.functional.normalize(rows, dim=1)


def test_everything_written_is_read_back(tmp_path: Path) -> None:
    made = Prototypes(
        vectors=_rows(),
        names=("F/A-18", "Crème", "c"),
        texts=(("x",), ("y", "v", "w"), ("z", "x")),
        model="ViT-B-16/openai",
        made="names",
        long_text="summary",
        template="a {}",
        names_share=0.5,
        read_texts=(("x",), ("y", "v", "u"), ("z", "x")),
        temperature=0.01,
    )
    write_prototypes(tmp_path / "prototypes.safetensors", made)
    back = read_prototypes(tmp_path / "prototypes.safetensors")
    assert torch.equal(back.vectors, made.vectors)
    for field in dataclasses.fields(Prototypes)[1:]:
        assert getattr(back, field.name) == getattr(made, field.name)


def test_files_of_one_text_a_class_are_still_read(tmp_path: Path) -> None:
    metadata = {"names": ["a", "b", "c"], "texts": ["xyz", "y", "z"], "model": "ViT-B-16/openai", "made": "names"}
    write_tensors(tmp_path / "old.safetensors", {"prototypes": _rows()}, kind="prototypes", metadata=metadata)
    back = read_prototypes(tmp_path / "old.safetensors")
    assert back.texts == (("xyz",), ("y",), ("z",))
    assert torch.equal(back.vectors, _rows())


def test_files_that_call_truncate_cut_are_still_read(tmp_path: Path) -> None:
    metadata = {"names": ["a", "b", "c"], "texts": None, "model": "m", "made": "names", "long_text": "cut"}
    write_tensors(tmp_path / "old.safetensors", {"prototypes": _rows()}, kind="prototypes", metadata=metadata)
    back = read_prototypes(tmp_path / "old.safetensors")
    assert back.long_text == "truncate"
    assert (back.temperature, back.names_share, back.read_texts) == (None, 0.0, None)


def _spaces() -> tuple[Prototypes, ...]:
    words: dict[str, Any] = {"names": ("a", "b", "c"), "texts": (("x",), ("y", "v"), ("z",)), "made": "names"}
    return (
        Prototypes(vectors=_rows(), model="one", long_text="split", temperature=0.01, **words),
        Prototypes(vectors=_rows(dim=7), model="two", read_texts=(("x",), ("y", "u"), ("z",)), **words),
        Prototypes(vectors=_rows(dim=2), model="three", **words),
    )


def test_one_file_holds_the_space_of_each_teacher(tmp_path: Path) -> None:
    path = tmp_path / "p.safetensors"
    write_prototypes(path, *_spaces())
    assert set(read_tensors(path, kind="prototypes")[0]) == {"prototypes", "prototypes_2", "prototypes_3"}
    back = read_spaces(path)
    for made, read in zip(_spaces(), back, strict=True):
        assert torch.equal(read.vectors, made.vectors)
        for field in dataclasses.fields(Prototypes)[1:]:
            assert getattr(read, field.name) == getattr(made, field.name)
    assert read_prototypes(path).model == "one"
    write_prototypes(path, _spaces()[1])
    assert [space.model for space in read_spaces(path)] == ["two"]


def test_spaces_of_other_words_do_not_go_together(tmp_path: Path) -> None:
    first, second, _ = _spaces()
    for other in (second.ordered((1, 0, 2)), second.ordered((0, 1)), dataclasses.replace(second, names=None)):
        with pytest.raises(TextError, match="teacher 2 are of other classes or texts"):
            write_prototypes(tmp_path / "p.safetensors", first, other)
    with pytest.raises(TextError, match="at least one teacher"):
        write_prototypes(tmp_path / "p.safetensors")
    assert not list(tmp_path.iterdir())


def test_a_space_without_its_tensor_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.safetensors"
    write_prototypes(path, *_spaces())
    tensors, metadata = read_tensors(path, kind="prototypes")
    del tensors["prototypes_2"]
    write_tensors(path, tensors, kind="prototypes", metadata=metadata)
    with pytest.raises(TextError, match=r"expected tensors \['prototypes', 'prototypes_2', 'prototypes_3'\], found"):
        read_spaces(path)


def test_unknown_names_and_texts_stay_unknown(tmp_path: Path) -> None:
    write_prototypes(tmp_path / "p.safetensors", Prototypes(vectors=_rows()))
    back = read_prototypes(tmp_path / "p.safetensors")
    assert (back.names, back.texts, back.template) == (None, None, None)


def test_order_and_names_follow_the_vectors() -> None:
    texts = (("x",), ("y",), ("z", "w"))
    made = Prototypes(vectors=_rows(), names=("a", "b", "c"), texts=texts, read_texts=texts)
    turned = made.ordered((2, 0))
    assert torch.equal(turned.vectors, torch.stack([made.vectors[2], made.vectors[0]]))
    assert turned.names == ("c", "a")
    assert turned.texts == turned.read_texts == (("z", "w"), ("x",))
    assert turned.named(["C", "A"]).names == ("C", "A")
    assert Prototypes(vectors=_rows()).ordered((1,)).names is None
    assert made.labels == ("a", "b", "c")
    assert Prototypes(vectors=_rows()).labels == ("prototype 1", "prototype 2", "prototype 3")


def test_counts_must_agree() -> None:
    with pytest.raises(TextError, match="2 names for 3 prototypes"):
        Prototypes(vectors=_rows()).named(["a", "b"])
    with pytest.raises(TextError, match="4 sets of texts for 3 prototypes"):
        Prototypes(vectors=_rows(), texts=(("w",), ("x",), ("y",), ("z",)))
    with pytest.raises(TextError, match="1 sets of shortened texts for 3 prototypes"):
        Prototypes(vectors=_rows(), read_texts=(("w",),))
    with pytest.raises(TextError, match="prototype 2 has no text"):
        Prototypes(vectors=_rows(), texts=(("w", "x"), (), ("y",)))
    for temperature in (0.0, -1.0, math.nan):
        with pytest.raises(TextError, match="temperature must be a number above 0"):
            Prototypes(vectors=_rows(), temperature=temperature)
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


def test_a_length_that_half_precision_cannot_hold_is_measured_in_float32() -> None:
    assert torch.allclose(unit_rows(torch.full((2, 4), 6e4, dtype=torch.float16)), torch.full((2, 4), 0.5))
