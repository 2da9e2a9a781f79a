import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import pytest
import torch
from torch import Tensor

from leadpp.config.tree import Config, TeacherConfig, TextConfig, TrainConfig
from leadpp.data.index import ImageIndex
from leadpp.engine.runtime import SilentProgress
from leadpp.errors import ArtifactError, TextError, WeightsError
from leadpp.io.artifacts import file_digest
from leadpp.models.teacher import load_teacher
from leadpp.stages.prototypes import build_prototypes, export_prototypes
from leadpp.text.descriptions import read_descriptions
from leadpp.text.encoding import LongText, encode_texts
from leadpp.text.prototypes import Prototypes, read_prototypes, read_spaces, write_prototypes
from tests.unit.models.tiny_clip import CONTEXT, DIM, write_tiny_clip

CLASSES = ("001.Black_footed_Albatross", "002.F/A-18", "003.Wren")
Match = Literal["exact", "subset", "free"]


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_clip(tmp_path_factory.mktemp("clip"))


def _index(*classes: str) -> ImageIndex:
    return ImageIndex(root=Path("photographs"), source="folder", classes=classes, records=(), split_origin="given")


def _config(clip: Path, text: TextConfig | None = None) -> Config:
    return Config(
        teacher=TeacherConfig(model=f"local-dir:{clip}"), text=text or TextConfig(), train=TrainConfig(device="cpu")
    )


def _names(folder: Path, *names: str) -> Path:
    path = folder / "names.txt"
    path.write_text("\n".join(names), encoding="utf-8")
    return path


def _reference(folder: Path, count: int = 3) -> tuple[Path, Tensor]:
    vectors = torch.nn.functional.normalize(torch.randn(count, 8, generator=torch.Generator().manual_seed(3)), dim=1)
    torch.save(vectors.half(), folder / "bird_text_tensor.pt")
    return folder / "bird_text_tensor.pt", vectors


def _tower(clip: Path, texts: Sequence[str]) -> Tensor:
    """The rows of an open_clip model that is loaded and asked without leadpp."""
    import open_clip

    model = open_clip.create_model(f"local-dir:{clip}").eval()
    with torch.no_grad():
        rows: Tensor = model.encode_text(open_clip.tokenize(list(texts), context_length=CONTEXT))
    return torch.nn.functional.normalize(rows, dim=1)


def test_descriptions_come_in_the_order_of_the_classes_under_their_true_names(tmp_path: Path, clip: Path) -> None:
    table = tmp_path / "texts.csv"
    table.write_text("class name,description\nWren,Tiny.\nBlack-footed albatross,Dark.\nFA-18,A jet.\n")
    results = build_prototypes(index=_index(*CLASSES), run=tmp_path, config=_config(clip), descriptions=table)
    made = read_prototypes(tmp_path / "prototypes.safetensors")
    assert made.names == CLASSES
    assert made.texts == (("Dark.",), ("A jet.",), ("Tiny.",))
    assert torch.allclose(made.vectors, _tower(clip, [text for (text,) in made.texts]), atol=1e-5)
    assert made.template is None
    assert made.model == f"local-dir:{clip}"
    assert made.made == f"descriptions texts.csv (BLAKE2b {file_digest(table)})"
    assert read_descriptions(tmp_path / "descriptions.csv") == dict(zip(CLASSES, made.texts, strict=True))
    assert results == {
        "classes": 3,
        "dim": DIM,
        "model": f"local-dir:{clip}",
        "names_known": True,
        "indistinct_pairs": 0,
        "texts": 3,
        "pieces": 3,
        "longest_tokens": 5,
    }


def test_several_descriptions_of_a_class_are_averaged(tmp_path: Path, clip: Path) -> None:
    table = tmp_path / "texts.csv"
    table.write_text(
        "name,text\nWren,Tiny.\nFA-18,A jet.\nWren,Brown bird.\nBlack-footed albatross,Dark.\nWren,Loud.\n"
    )
    progress = SilentProgress()
    results = build_prototypes(
        index=_index(*CLASSES), run=tmp_path, config=_config(clip), descriptions=table, progress=progress
    )
    made = read_prototypes(tmp_path / "prototypes.safetensors")
    assert made.texts == (("Dark.",), ("A jet.",), ("Tiny.", "Brown bird.", "Loud."))
    assert read_descriptions(tmp_path / "descriptions.csv") == dict(zip(CLASSES, made.texts, strict=True))
    dark, jet, *wren = _tower(clip, ["Dark.", "A jet.", "Tiny.", "Brown bird.", "Loud."])
    mean = (wren[0] + wren[1] + wren[2]) / 3
    assert torch.allclose(made.vectors, torch.stack([dark, jet, mean / mean.norm()]), atol=1e-5)
    assert {"classes": 3, "texts": 5, "pieces": 5}.items() <= results.items()
    assert progress.notes == ["5 texts for 3 classes: those of a class are averaged"]


def test_a_class_with_one_description_has_the_same_vector_beside_classes_with_several(
    tmp_path: Path, clip: Path
) -> None:
    made = []
    for run, more in (("one", ""), ("several", "Wren,Brown bird.\n")):
        table = tmp_path / f"{run}.csv"
        table.write_text(f"Wren,Tiny.\n{more}Auk,Black.\n")
        build_prototypes(index=_index(), run=tmp_path / run, config=_config(clip), descriptions=table)
        made.append(read_prototypes(tmp_path / run / "prototypes.safetensors").vectors)
    encoded = encode_texts(["Tiny.", "Black."], encoder=load_teacher(model=f"local-dir:{clip}"))
    assert torch.equal(made[0], encoded.vectors)
    assert torch.allclose(made[1][1], made[0][1], atol=1e-6)  # another batch may round otherwise
    assert not torch.allclose(made[1][0], made[0][0], atol=1e-3)


def test_class_names_serve_where_nothing_is_given(tmp_path: Path, clip: Path) -> None:
    build_prototypes(index=_index(*CLASSES), run=tmp_path, config=_config(clip, TextConfig(template="one {}!")))
    made = read_prototypes(tmp_path / "prototypes.safetensors")
    assert made.names == CLASSES
    assert made.texts == (("one Black footed Albatross!",), ("one F/A-18!",), ("one Wren!",))
    assert torch.allclose(made.vectors, _tower(clip, [text for (text,) in made.texts]), atol=1e-5)
    assert made.template == "one {}!"


def test_a_list_of_names_serves_unlabelled_data_as_it_is(tmp_path: Path, clip: Path) -> None:
    names = _names(tmp_path, "Wren", "Auk")
    build_prototypes(index=_index(), run=tmp_path, config=_config(clip), names=names)
    made = read_prototypes(tmp_path / "prototypes.safetensors")
    assert made.names == ("Wren", "Auk")
    assert made.texts == (("a photo of a Wren.",), ("a photo of a Auk.",))


@pytest.mark.parametrize(
    ("match", "expected"), [("subset", ("wren", "auk")), ("free", ("Gull", "Auk", "Wren")), ("exact", None)]
)
def test_extra_names_are_refused_dropped_or_kept(
    tmp_path: Path, clip: Path, match: Match, expected: tuple[str, ...] | None
) -> None:
    names = _names(tmp_path, "Gull", "Auk", "Wren")
    index, config = _index("wren", "auk"), _config(clip, TextConfig(match=match))
    if expected is None:
        with pytest.raises(TextError, match="1 of 3 names have no class: 'Gull'"):
            build_prototypes(index=index, run=tmp_path, config=config, names=names)
        assert not (tmp_path / "prototypes.safetensors").exists()
    else:
        results = build_prototypes(index=index, run=tmp_path, config=config, names=names)
        assert read_prototypes(tmp_path / "prototypes.safetensors").names == expected
        assert results["texts"] == len(expected)


def test_names_are_matched_before_the_teacher_is_loaded(tmp_path: Path) -> None:
    with pytest.raises(TextError, match="have no text"):
        build_prototypes(
            index=_index("wren", "auk"),
            run=tmp_path,
            config=_config(tmp_path / "absent"),
            names=_names(tmp_path, "Wren", "Awk"),
        )
    with pytest.raises(WeightsError, match="absent: no such folder"):
        build_prototypes(index=_index("wren", "auk"), run=tmp_path, config=_config(tmp_path / "absent"))


@pytest.mark.parametrize("long", ["split", "truncate", "summary"])
def test_long_texts_are_told_of(tmp_path: Path, clip: Path, long: LongText) -> None:
    table = tmp_path / "texts.json"
    text = "The wren is small and brown. Its tail points up. It sings loudly."
    table.write_text(f'{{"Wren": "{text}", "Auk": "Black."}}', encoding="utf-8")
    progress = SilentProgress()
    results = build_prototypes(
        index=_index(),
        run=tmp_path,
        config=_config(clip, TextConfig(long=long)),
        descriptions=table,
        progress=progress,
    )
    made = read_prototypes(tmp_path / "prototypes.safetensors")
    assert made.long_text == long
    assert results["longest_tokens"] == 2 + len(text.replace(".", " .").split())
    if long == "truncate":
        assert torch.allclose(made.vectors[:1], _tower(clip, [text]), atol=1e-5)
        assert results["pieces"] == 2
        assert progress.notes == [f"1 of 2 texts are longer than {made.model} reads: truncated"]
    elif long == "summary":
        assert made.read_texts is not None
        (short,), (black,) = made.read_texts
        # the longest sentence is most of the whole, and beside it no other fits into 12 tokens
        assert (short, black) == ("The wren is small and brown.", "Black.")
        assert made.texts == ((text,), ("Black.",))
        assert torch.allclose(made.vectors, _tower(clip, [short, black]), atol=1e-5)
        assert "shortened to the sentences" in progress.notes[0]
    else:
        parts = _tower(clip, ["The wren is small and brown.", "Its tail points up. It sings loudly."])
        # 7 tokens against 5 + 4, full stops included
        mean = (7 * parts[0] + 9 * parts[1]) / 16
        assert torch.allclose(made.vectors[0], mean / mean.norm(), atol=1e-5)
        assert results["pieces"] == 3
        assert progress.notes == [f"1 of 2 texts are longer than {made.model} reads: split and averaged"]


def test_reference_vectors_without_names_keep_their_order_and_name_nobody(tmp_path: Path) -> None:
    path, vectors = _reference(tmp_path)
    (tmp_path / "descriptions.csv").write_text("from an earlier build")
    results = build_prototypes(index=_index(*CLASSES), run=tmp_path, config=Config(), prototypes=path)
    made = read_prototypes(tmp_path / "prototypes.safetensors")
    assert torch.allclose(made.vectors, vectors, atol=1e-3)
    assert made.names is None
    assert results == {"classes": 3, "dim": 8, "model": "", "names_known": False, "indistinct_pairs": 0}
    assert not (tmp_path / "descriptions.csv").exists()


def test_reference_vectors_get_names_and_with_them_the_order_of_the_classes(tmp_path: Path) -> None:
    path, vectors = _reference(tmp_path)
    names = _names(tmp_path, "Wren", "Black footed Albatross", "FA-18")
    results = build_prototypes(index=_index(*CLASSES), run=tmp_path, config=Config(), names=names, prototypes=path)
    made = read_prototypes(tmp_path / "prototypes.safetensors")
    assert made.names == CLASSES
    assert torch.allclose(made.vectors, vectors[[1, 2, 0]], atol=1e-3)
    assert results["names_known"]


def test_vectors_without_names_must_be_as_many_as_the_classes_unless_they_are_free(tmp_path: Path) -> None:
    path, _ = _reference(tmp_path, count=4)
    with pytest.raises(TextError, match="the data have 3 classes, but there are 4 prototypes"):
        build_prototypes(index=_index(*CLASSES), run=tmp_path, config=Config(), prototypes=path)
    free = Config(text=TextConfig(match="free"))
    assert build_prototypes(index=_index(*CLASSES), run=tmp_path, config=free, prototypes=path)["classes"] == 4
    assert build_prototypes(index=_index(), run=tmp_path, config=Config(), prototypes=path)["classes"] == 4


def test_the_wrong_count_of_names_is_refused(tmp_path: Path) -> None:
    path, _ = _reference(tmp_path)
    with pytest.raises(TextError, match=r"names\.txt for .*\.pt: 2 names for 3 prototypes"):
        build_prototypes(
            index=_index(), run=tmp_path, config=Config(), names=_names(tmp_path, "a", "b"), prototypes=path
        )


def test_prototypes_of_another_run_are_taken_over_with_all_they_carry(tmp_path: Path) -> None:
    _, vectors = _reference(tmp_path)
    own = Prototypes(
        vectors=vectors, names=("Wren", "FA-18", "black footed albatross"), texts=(("x",), ("y",), ("z", "w"))
    )
    write_prototypes(tmp_path / "other.safetensors", own)
    build_prototypes(
        index=_index(*CLASSES), run=tmp_path / "run", config=Config(), prototypes=tmp_path / "other.safetensors"
    )
    made = read_prototypes(tmp_path / "run" / "prototypes.safetensors")
    assert torch.equal(made.vectors, vectors[[2, 1, 0]])
    assert read_descriptions(tmp_path / "run" / "descriptions.csv") == dict(
        zip(CLASSES, (("z", "w"), ("y",), ("x",)), strict=True)
    )
    with pytest.raises(TextError, match=r"holds its own names; leave .*names\.txt out"):
        build_prototypes(
            index=_index(),
            run=tmp_path,
            config=Config(),
            names=_names(tmp_path, "a", "b", "c"),
            prototypes=tmp_path / "other.safetensors",
        )


def test_sources_exclude_each_other(tmp_path: Path) -> None:
    path, _ = _reference(tmp_path)
    names = _names(tmp_path, "a", "b", "c")
    with pytest.raises(TextError, match="either descriptions or prototypes"):
        build_prototypes(index=_index(), run=tmp_path, config=Config(), descriptions=names, prototypes=path)
    with pytest.raises(TextError, match="either names or descriptions"):
        build_prototypes(index=_index(), run=tmp_path, config=Config(), names=names, descriptions=names)


def test_without_names_and_labels_there_is_nothing_to_start_from(tmp_path: Path) -> None:
    with pytest.raises(TextError, match=r"photographs has no labels.*give --names, --descriptions or --prototypes"):
        build_prototypes(index=_index(), run=tmp_path, config=Config())


def test_one_prototype_is_too_few(tmp_path: Path) -> None:
    path, _ = _reference(tmp_path, count=1)
    with pytest.raises(TextError, match="at least two are needed"):
        build_prototypes(index=_index(), run=tmp_path, config=Config(), prototypes=path)


def test_other_files_and_other_places_are_refused(tmp_path: Path) -> None:
    path, _ = _reference(tmp_path)
    with pytest.raises(TextError, match=r"as \.safetensors or as the reference's \.pt, found '\.npy'"):
        build_prototypes(index=_index(), run=tmp_path, config=Config(), prototypes=tmp_path / "x.npy")
    (tmp_path / "run").write_text("")
    with pytest.raises(ArtifactError, match="a file stands where a folder is meant"):
        build_prototypes(index=_index(), run=tmp_path / "run", config=Config(), prototypes=path)


FACTORY = """
import torch

class Uneven:
    embedding_dim = 5
    name = "uneven"
    def encode_images(self, images): ...
    def encode_texts(self, texts): return torch.ones(len(texts), 4)
    def to(self, device): ...
"""


def test_a_teacher_whose_towers_differ_in_width_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "uneven_teacher.py").write_text(FACTORY, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    config = Config(teacher=TeacherConfig(factory="uneven_teacher:Uneven"), train=TrainConfig(device="cpu"))
    with pytest.raises(TextError, match="4 wide, but the image tower of uneven is 5 wide"):
        build_prototypes(index=_index("a", "b"), run=tmp_path, config=config)


def test_names_in_several_sentences_are_an_ensemble(tmp_path: Path, clip: Path) -> None:
    names = _names(tmp_path, "Wren", "Auk")
    config = _config(clip, TextConfig(template="a {}. | one {}!"))
    results = build_prototypes(index=_index(), run=tmp_path, config=config, names=names)
    made = read_prototypes(tmp_path / "prototypes.safetensors")
    assert made.texts == (("a Wren.", "one Wren!"), ("a Auk.", "one Auk!"))
    mean = _tower(clip, ["a Wren.", "a Auk."]) + _tower(clip, ["one Wren!", "one Auk!"])
    assert torch.allclose(made.vectors, torch.nn.functional.normalize(mean, dim=1), atol=1e-5)
    assert results["texts"] == 4


def test_descriptions_are_mixed_with_names(tmp_path: Path, clip: Path) -> None:
    table = tmp_path / "texts.csv"
    table.write_text("Wren,Tiny.\nFA-18,A jet.\nBlack-footed albatross,Dark.\nWren,Brown.\n")
    config = _config(clip, TextConfig(template="a {}.|one {}!", mix="names=0.25"))
    results = build_prototypes(index=_index(*CLASSES), run=tmp_path, config=config, descriptions=table)
    made = read_prototypes(tmp_path / "prototypes.safetensors")
    unit = torch.nn.functional.normalize
    tiny, brown = _tower(clip, ["Tiny.", "Brown."])
    described = torch.stack([*_tower(clip, ["Dark.", "A jet."]), unit(tiny + brown, dim=0)])
    spelled = ["Black-footed albatross", "FA-18", "Wren"]
    first, second = (_tower(clip, [shape.format(name) for name in spelled]) for shape in ("a {}.", "one {}!"))
    named = unit(first + second, dim=1)
    assert torch.allclose(made.vectors, unit(0.75 * described + 0.25 * named, dim=1), atol=1e-5)
    assert (made.names, made.template, made.names_share) == (CLASSES, "a {}.|one {}!", 0.25)
    assert made.texts == (("Dark.",), ("A jet.",), ("Tiny.", "Brown."))
    assert results["texts"] == 4


def test_a_mix_without_descriptions_is_told_to_have_no_effect(tmp_path: Path, clip: Path) -> None:
    names, mixed = _names(tmp_path, "Wren", "Auk"), _config(clip, TextConfig(mix="names=0.5"))
    vectors = []
    for config, notes in ((_config(clip), 0), (mixed, 1)):
        progress = SilentProgress()
        build_prototypes(index=_index(), run=tmp_path, config=config, names=names, progress=progress)
        vectors.append(read_prototypes(tmp_path / "prototypes.safetensors").vectors)
        assert len([note for note in progress.notes if "text.mix has no effect on names alone" in note]) == notes
    assert torch.equal(*vectors)
    progress = SilentProgress()
    build_prototypes(
        index=_index(), run=tmp_path, config=mixed, prototypes=tmp_path / "prototypes.safetensors", progress=progress
    )
    assert "text.mix has no effect on ready prototypes" in progress.notes


def test_each_teacher_reads_the_same_words_in_its_own_space(tmp_path: Path, clip: Path) -> None:
    other = write_tiny_clip(tmp_path / "wide", embed_dim=24)
    table = tmp_path / "texts.csv"
    table.write_text("class name,description\nWren,Tiny.\nFA-18,A jet.\nBlack-footed albatross,Dark.\nWren,Brown.\n")
    models = (f"local-dir:{clip}", f"local-dir:{other}")
    config = Config(teacher=TeacherConfig(models=models), train=TrainConfig(device="cpu"))
    progress = SilentProgress()
    results = build_prototypes(
        index=_index(*CLASSES), run=tmp_path, config=config, descriptions=table, progress=progress
    )
    spaces = read_spaces(tmp_path / "prototypes.safetensors")
    assert [(space.model, space.dim) for space in spaces] == [(models[0], DIM), (models[1], 24)]
    for space, folder in zip(spaces, (clip, other), strict=True):
        dark, jet, tiny, brown = _tower(folder, ["Dark.", "A jet.", "Tiny.", "Brown."])
        wren = torch.nn.functional.normalize(tiny + brown, dim=0)
        assert torch.allclose(space.vectors, torch.stack([dark, jet, wren]), atol=1e-5)
        assert space.names == CLASSES
        assert space.temperature == pytest.approx(0.07)
    assert [row["model"] for row in results["spaces"]] == list(models)
    assert (results["model"], results["dim"], results["spaces"][1]["dim"]) == (models[0], DIM, 24)
    assert progress.notes == ["4 texts for 3 classes: those of a class are averaged"]
    again = tmp_path / "again"
    build_prototypes(
        index=_index("wren", "fa18", "black footed albatross"),
        run=again,
        config=config,
        prototypes=tmp_path / "prototypes.safetensors",
    )
    for space, former in zip(read_spaces(again / "prototypes.safetensors"), spaces, strict=True):
        assert torch.equal(space.vectors, former.vectors[[2, 1, 0]])


def test_classes_that_the_teacher_cannot_tell_apart_are_told_of_once(tmp_path: Path) -> None:
    rows = torch.eye(4)
    rows[1] = torch.tensor([0.99, math.sqrt(1 - 0.99**2), 0, 0])
    made = Prototypes(vectors=rows, names=("auk", "gull", "tern", "wren"), model="ViT")
    for temperature, count in ((None, 1), (0.01, 0), (0.05, 1)):
        write_prototypes(tmp_path / "own.safetensors", dataclasses.replace(made, temperature=temperature))
        progress = SilentProgress()
        results = build_prototypes(
            index=_index(), run=tmp_path, config=Config(), prototypes=tmp_path / "own.safetensors", progress=progress
        )
        assert results["indistinct_pairs"] == len(progress.notes) == count
    assert (
        "1 pair of classes is closer than ViT can tell apart at temperature 0.05: 'auk' and 'gull'" in progress.notes[0]
    )


def test_prototypes_are_exported_with_their_names_beside_them(tmp_path: Path) -> None:
    _, vectors = _reference(tmp_path)
    first = Prototypes(vectors=vectors, names=("b", "a", "c"))
    second = Prototypes(
        vectors=vectors[:, :7] / vectors[:, :7].norm(dim=1, keepdim=True), names=first.names, model="two"
    )
    write_prototypes(tmp_path / "prototypes.safetensors", first, second)
    result = export_prototypes(tmp_path, tmp_path / "out" / "x.pt")
    assert torch.load(tmp_path / "out" / "x.pt", weights_only=True).shape == (3, 8)
    assert (tmp_path / "out" / "x.names.txt").read_text() == "b\na\nc\n"
    assert result["names"] == str(tmp_path / "out" / "x.names.txt")
    result = export_prototypes(tmp_path / "prototypes.safetensors", tmp_path / "y.pt", dtype="float32", space=2)
    before = (tmp_path / "y.pt").read_bytes()
    with pytest.raises(ArtifactError, match="there is such a file already"):
        export_prototypes(tmp_path, tmp_path / "y.pt")
    assert (tmp_path / "y.pt").read_bytes() == before
    export_prototypes(tmp_path, tmp_path / "y.pt", dtype="float32", space=2, overwrite=True)
    assert torch.equal(torch.load(tmp_path / "y.pt", weights_only=True), second.vectors)
    assert (result["dim"], result["model"], result["dtype"]) == (7, "two", "float32")
