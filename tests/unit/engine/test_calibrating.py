"""The temperature of names: fitted to the teacher's confidence, kept with what it is of, and forgotten with that."""

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from leadpp.engine.calibrating import (
    Calibration,
    calibrate,
    calibrate_saved,
    fit_places,
    read_calibration,
    teacher_calibration,
    write_calibration,
)
from leadpp.engine.features import save_features
from leadpp.errors import ArtifactError
from tests.oracles.calibration import slow_confidence
from tests.unit.tiny import TinyTeacher


class WarmTeacher(TinyTeacher):
    """Knows its temperature."""

    temperature = 0.3


def unit(rows: int, *, seed: int, width: int = 5) -> Tensor:
    return normalize(torch.randn(rows, width, generator=torch.Generator().manual_seed(seed)), dim=1)


@pytest.mark.parametrize(("teacher", "own"), [(WarmTeacher(), 0.3), (TinyTeacher(), 0.05)])
def test_the_student_becomes_as_sure_as_its_teacher(teacher: TinyTeacher, own: float) -> None:
    student, taught, prototypes = 4 * unit(30, seed=1), unit(30, seed=2), unit(6, seed=3)
    found = calibrate(student, taught, prototypes, teacher=teacher, usual=0.05)
    sure = slow_confidence((taught @ prototypes.T).tolist(), own)
    assert found.target == pytest.approx(sure, abs=1e-6)
    own_rows = normalize(student, dim=1) @ prototypes.T
    assert slow_confidence(own_rows.tolist(), found.temperature) == pytest.approx(sure, abs=1e-5)
    assert (found.fitted, found.images, found.teacher, found.teacher_temperature) == (True, 30, "tiny", own)
    assert f"{own:.4g} over 30 training photographs" in found.how
    assert teacher_calibration(teacher, usual=0.05).temperature == own


def test_it_is_kept_for_one_student_and_one_set(tmp_path: Path) -> None:
    one, other = Calibration(temperature=0.1, how="so"), Calibration(temperature=0.2, how="thus", fitted=True)
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
    student, taught, prototypes = unit(30, seed=1), unit(30, seed=2), unit(6, seed=3)
    asked = {"set_name": "crop", "seed": 4, "teacher": WarmTeacher(), "usual": 0.05}
    assert calibrate_saved(tmp_path, prototypes, most=30, **asked) is None  # type: ignore[arg-type]
    save_features(tmp_path / "embeddings" / "student-embedding-crop-train.npy", student)
    save_features(tmp_path / "embeddings" / "teacher-embedding-crop-train.npy", taught)
    whole = calibrate(student, taught, prototypes, teacher=WarmTeacher(), usual=0.05)
    assert calibrate_saved(tmp_path, prototypes, most=30, **asked) == whole  # type: ignore[arg-type]
    some = calibrate_saved(tmp_path, prototypes, most=7, **asked)  # type: ignore[arg-type]
    places = fit_places(30, most=7, seed=4)
    assert (some, len(places)) == (
        calibrate(student[places], taught[places], prototypes, teacher=WarmTeacher(), usual=0.05),
        7,
    )
    assert calibrate_saved(tmp_path, unit(6, seed=3, width=4), most=30, **asked) is None  # type: ignore[arg-type]
