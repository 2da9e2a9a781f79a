import torch
from torch import Tensor

from leadpp.functional.randomness import generator_for
from leadpp.models.outcome import StudentAverage, blend_student
from leadpp.models.student import FirstBackbone, Student
from tests.unit.tiny import TinyBackbone


def tiny_student() -> Student:
    return Student(TinyBackbone(), embedding_dim=6, attention_channels=4, generator=generator_for(1, "student"))


def drift(student: Student) -> None:
    with torch.no_grad():
        for tensor in student.state_dict().values():
            tensor.add_(0.5 if tensor.is_floating_point() else 1)


def test_the_average_is_the_weighted_sum_written_out() -> None:
    student = tiny_student()
    average = StudentAverage(student, decay=0.3)
    expected = {name: tensor.double() for name, tensor in student.state_dict().items()}
    for done in range(6):
        drift(student)
        keep = [0.1, 2 / 11, 0.25, 0.3, 0.3, 0.3][done]
        for name, tensor in student.state_dict().items():
            expected[name] = keep * expected[name] + (1 - keep) * tensor
        average.update(student)
    for name, tensor in average.student.state_dict().items():
        if tensor.is_floating_point():
            torch.testing.assert_close(tensor.double(), expected[name])
    assert int(average.updates) == 6


def test_the_average_stands_apart_from_the_student() -> None:
    student = tiny_student().train()
    average = StudentAverage(student, decay=0.9).train()
    assert not average.student.training
    assert not any(weight.requires_grad for weight in average.parameters())
    before = _copy(average.student)
    drift(student)
    assert all(torch.equal(tensor, before[name]) for name, tensor in average.student.state_dict().items())


def test_shares_of_none_and_all_are_the_first_and_the_trained() -> None:
    student = tiny_student()
    first = FirstBackbone(student)
    drift(student)
    trained = _copy(student)
    none, whole = (blend_student(student, first, share=share).state_dict() for share in (0.0, 1.0))
    for name, tensor in trained.items():
        began = name.startswith("backbone.")
        assert torch.equal(whole[name], tensor)
        expected = first.state_dict()[name] if began and tensor.is_floating_point() else tensor
        assert torch.equal(none[name], expected)
        assert torch.equal(student.state_dict()[name], tensor)


def _copy(student: Student) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in student.state_dict().items()}
