"""The temperature of names: fitted to the teacher's confidence, kept with what it is of, and forgotten with that."""

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from leadpp.engine.answers import answer
from leadpp.engine.calibrating import (
    Calibration,
    calibrate,
    calibrate_saved,
    fit_places,
    read_calibration,
    saved_embeddings,
    teacher_calibration,
    write_calibration,
)
from leadpp.engine.features import save_features
from leadpp.errors import ArtifactError
from leadpp.functional.distillation import Distribution
from leadpp.text.prototypes import Prototypes
from tests.oracles.calibration import slow_confidence
from tests.unit.tiny import TinyTeacher


class WarmTeacher(TinyTeacher):
    """Knows its temperature."""

    temperature = 0.3


def unit(rows: int, *, seed: int, width: int = 5) -> Tensor:
    return normalize(torch.randn(rows, width, generator=torch.Generator().manual_seed(seed)), dim=1)


def space(seed: int = 3, *, width: int = 5, temperature: float | None = None) -> Prototypes:
    return Prototypes(vectors=unit(6, seed=seed, width=width), temperature=temperature)


@pytest.mark.parametrize(
    ("teacher", "told", "own"), [(WarmTeacher(), None, 0.3), (WarmTeacher(), 0.2, 0.2), (TinyTeacher(), None, 0.05)]
)
def test_the_student_becomes_as_sure_as_its_teacher(teacher: TinyTeacher, told: float | None, own: float) -> None:
    student, taught, prototypes = 4 * unit(30, seed=1), unit(30, seed=2), space(temperature=told)
    found = calibrate([student], [taught], [prototypes], teachers=[teacher], usual=[0.05])
    sure = slow_confidence((taught @ prototypes.vectors.T).tolist(), own)
    assert found.targets == pytest.approx([sure], abs=1e-6)
    cosines = normalize(student, dim=1) @ prototypes.vectors.T
    assert slow_confidence(cosines.tolist(), found.temperatures[0]) == pytest.approx(sure, abs=1e-5)
    assert (found.fitted, found.images, found.teachers, found.teacher_temperatures) == (True, 30, ("tiny",), (own,))
    assert f"at {own:.4g}; " in found.how
    assert ("as nothing tells its own" in found.how) == (own == 0.05)
    assert teacher_calibration([prototypes], teachers=[teacher], usual=[0.05]).temperatures == (own,)


def test_the_mixture_of_all_spaces_becomes_as_sure_as_that_of_all_teachers() -> None:
    spaces = [space(), space(4, width=7, temperature=0.1)]
    students, taught = [unit(20, seed=5), unit(20, seed=6, width=7)], [unit(20, seed=7), unit(20, seed=8, width=7)]
    teachers = [WarmTeacher(), TinyTeacher()]
    both = calibrate(students, taught, spaces, teachers=teachers, usual=[0.05, 0.05])
    vectors = [each.vectors for each in spaces]
    wanted = sure(answer(taught, vectors, temperatures=both.teacher_temperatures))
    assert sure(answer(students, vectors, temperatures=both.temperatures)) == pytest.approx(wanted, abs=1e-5)
    assert (both.targets[2], both.reached[2]) == pytest.approx((wanted, wanted), abs=1e-5)
    assert f"of the teachers' mixture, {wanted:.3f} (" in both.how
    alone = [
        calibrate([students[place]], [taught[place]], [spaces[place]], teachers=[teachers[place]], usual=[0.05])
        for place in range(2)
    ]
    assert both.targets[:2] == tuple(each.targets[0] for each in alone)
    factors = [both.temperatures[place] / alone[place].temperatures[0] for place in range(2)]
    assert factors[0] == pytest.approx(factors[1])
    assert factors[0] != pytest.approx(1, abs=0.01)  # each space by itself would leave the mixture unmatched
    assert both.teacher_temperatures == (0.3, 0.1)


def sure(said: Distribution) -> float:
    return float(said.probs.amax(dim=1).double().mean())


def test_it_is_kept_for_one_student_and_one_set(tmp_path: Path) -> None:
    one, other = Calibration(temperatures=(0.1, 0.3), how="so"), Calibration(temperatures=(0.2,), how="y", fitted=True)
    first, second = {"checkpoint": "a"}, {"checkpoint": "b"}
    assert read_calibration(tmp_path, set_name="crop", of=first) is None
    write_calibration(tmp_path, one, set_name="crop", of=first)
    write_calibration(tmp_path, other, set_name="whole", of=first)
    assert read_calibration(tmp_path, set_name="crop", of=first) == one
    assert read_calibration(tmp_path, set_name="whole", of=first) == other
    assert read_calibration(tmp_path, set_name="crop", of=second) is None
    write_calibration(tmp_path, other, set_name="whole", of=second)
    assert read_calibration(tmp_path, set_name="crop", of=second) is None
    (tmp_path / "naming.json").write_text("{")
    with pytest.raises(ArtifactError, match=r"naming\.json: cannot be read"):
        read_calibration(tmp_path, set_name="whole", of=second)


def test_saved_embeddings_are_enough(tmp_path: Path) -> None:
    student, taught = unit(30, seed=1), unit(30, seed=2)

    def saved(most: int, prototypes: Prototypes) -> Calibration | None:
        return calibrate_saved(
            tmp_path, [prototypes], set_name="crop", most=most, seed=4, teachers=[WarmTeacher()], usual=[0.05]
        )

    def fitted(places: list[int]) -> Calibration:
        chosen = [[student[places]], [taught[places]]]
        return calibrate(chosen[0], chosen[1], [space()], teachers=[WarmTeacher()], usual=[0.05])

    assert saved(30, space()) is None
    save_features(tmp_path / "embeddings" / "student-embedding-crop-train.npy", student)
    save_features(tmp_path / "embeddings" / "teacher-embedding-crop-train.npy", taught)
    assert saved(30, space()) == fitted(list(range(30)))
    places = fit_places(30, most=7, seed=4)
    assert len(places) == 7
    assert saved(7, space()) == fitted(places)
    assert saved(30, space(width=4)) is None


def test_embeddings_in_several_spaces_are_found_by_their_names(tmp_path: Path) -> None:
    folder, spaces = tmp_path / "embeddings", [space(), space(4, width=7)]
    for name, width in (("student-embedding", 5), ("student-embedding_2", 7), ("teacher_1-embedding", 5)):
        save_features(folder / f"{name}-whole-test.npy", unit(3, seed=width, width=width))
    asked = {"set_name": "whole", "split": "test"}
    assert [each.shape[1] for each in saved_embeddings(tmp_path, "student", spaces, **asked)] == [5, 7]
    assert saved_embeddings(tmp_path, "teacher", spaces, **asked) == ()
    save_features(folder / "teacher_2-embedding-whole-test.npy", unit(3, seed=9, width=7))
    assert [each.shape[1] for each in saved_embeddings(tmp_path, "teacher", spaces, **asked)] == [5, 7]
