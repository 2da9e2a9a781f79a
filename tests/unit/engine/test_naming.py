"""Figures of names: against definitions and laws, where names are classes and where they are a list of their own."""

from collections import Counter

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from leadpp.engine.measures import naming_accuracy
from leadpp.engine.naming import Vocabulary, knowledge, knowledge_without_names, naming_details, naming_figures
from tests.oracles.calibration import slow_calibration_error, slow_risks

NAMES = ("wren", "lark", "tit", "owl")
LABELS = torch.arange(60) % 4


def unit(rows: int, *, seed: int) -> Tensor:
    return normalize(torch.randn(rows, 6, generator=torch.Generator().manual_seed(seed)), dim=1)


def vocabulary(**changes: object) -> Vocabulary:
    words = unit(4, seed=9)
    usual = {
        "spaces": (unit(4, seed=1),), "names": NAMES, "classes": NAMES, "place_of_class": (0, 1, 2, 3),
        "name_vectors": words, "class_vectors": words,
    }  # fmt: skip
    return Vocabulary(**(usual | changes))  # type: ignore[arg-type]  # fields of any kind


def embeddings(spread: float = 1.5) -> Tensor:
    return 3 * (unit(4, seed=1)[LABELS] + spread * unit(60, seed=2))


def figures(values: Tensor, words: Vocabulary, *, temperature: float = 0.2) -> dict[str, float]:
    return naming_figures([values], LABELS, words, temperatures=[temperature], usual=[0.05])


def test_figures_are_those_of_the_definitions() -> None:
    values, words = embeddings(), vocabulary()
    probs = (normalize(values, dim=1) @ words.spaces[0].T / 0.2).softmax(dim=1)
    confidence, given = probs.max(dim=1)
    right = given == LABELS
    found = figures(values, words)
    assert 0.3 < right.double().mean() < 1
    risks = slow_risks(confidence.tolist(), right.tolist())
    assert found["naming_ece"] == pytest.approx(
        slow_calibration_error(confidence.tolist(), right.tolist(), bins=15), abs=1e-6
    )
    assert found["naming_aurc"] == pytest.approx(sum(risks) / 60)
    assert found["naming_accuracy"] == pytest.approx(naming_accuracy(values, words.spaces[0], LABELS))
    assert found["naming_at_50"] == pytest.approx(1 - risks[29])
    assert found["naming_coverage_90"] == pytest.approx(max(k for k, risk in enumerate(risks, 1) if risk <= 0.1) / 60)
    cosines = [float(words.name_vectors[g] @ words.name_vectors[t]) for g, t in zip(given, LABELS, strict=True)]  # type: ignore[index]
    assert found["semantic_accuracy"] == pytest.approx(sum(cosines) / 60, abs=1e-6)


def test_perfect_names_are_perfect_and_the_order_of_the_list_does_not_matter() -> None:
    found = figures(embeddings(spread=0.0), vocabulary())
    assert found["naming_cluster_accuracy"] == found["naming_at_80"] == found["naming_coverage_90"] == 1
    assert found["naming_aurc"] == 0
    assert found["semantic_accuracy"] == pytest.approx(1)
    order = [2, 0, 3, 1]
    mixed = vocabulary(
        spaces=(unit(4, seed=1)[order],),
        names=tuple(NAMES[place] for place in order),
        place_of_class=tuple(order.index(place) for place in range(4)),
        name_vectors=unit(4, seed=9)[order],
    )
    assert figures(embeddings(), mixed) == pytest.approx(figures(embeddings(), vocabulary()))


def test_clusters_of_names_need_no_true_names() -> None:
    turned = vocabulary(spaces=(unit(4, seed=1).roll(1, dims=0),))  # every class is named, but as another
    assert naming_accuracy(embeddings(0.0), turned.spaces[0], LABELS) == 0
    assert figures(embeddings(0.0), turned)["naming_cluster_accuracy"] == 1


def test_a_list_of_its_own_is_measured_by_clusters_and_meaning_alone() -> None:
    words = vocabulary(classes=("a", "b", "c", "d"), place_of_class=None, class_vectors=unit(4, seed=10))
    found = figures(embeddings(), words)
    assert set(found) == {"naming_cluster_accuracy", "semantic_accuracy", "semantic_chance"}
    table = unit(4, seed=9) @ unit(4, seed=10).T
    assert found["semantic_chance"] == pytest.approx(float(table.mean()), abs=1e-6)
    bare = vocabulary(place_of_class=None, name_vectors=None)
    assert set(figures(embeddings(), bare)) == {"naming_cluster_accuracy"}


def test_confusions_are_the_commonest_mistakes_in_words() -> None:
    values = embeddings()
    found = naming_details([values], LABELS, vocabulary(), temperatures=[0.2])["confusions"]
    given = (normalize(values, dim=1) @ unit(4, seed=1).T).argmax(dim=1)
    pairs = Counter((NAMES[t], NAMES[g]) for t, g in zip(LABELS.tolist(), given.tolist(), strict=True) if t != g)
    assert {(one["true"], one["given"]): one["count"] for one in found} == dict(pairs.most_common(10))
    counts = [one["count"] for one in found]
    assert counts == sorted(counts, reverse=True)
    assert {one["of"] for one in found} == {15}


def test_what_went_in_is_said_for_each_way_of_matching() -> None:
    said = {
        match: knowledge(match=match, names=9, classes=4, texts="")["names"] for match in ("exact", "subset", "free")
    }
    assert [text.split(":")[0] for text in said.values()] == ["true names", "true names", "a list of its own"]
    assert "9" in said["free"]
    assert "proposed" not in said["free"]  # it may be one's own
    nothing = knowledge_without_names(texts="")
    assert (nothing["names"], nothing["texts"], set(nothing)) == ("none", "none", {"names", "texts", "clusters"})
    assert nothing["clusters"] == knowledge(match="exact", names=4, classes=4, texts="")["clusters"]


def test_answers_in_several_spaces_are_mixed() -> None:
    two = vocabulary(spaces=(unit(4, seed=1), unit(4, seed=3)))
    right, noise = embeddings(0.0), unit(60, seed=4)
    found = naming_figures([right, noise], LABELS, two, temperatures=[0.05, 50.0], usual=[0.05, 0.05])
    assert found["naming_accuracy"] == 1
    turned = naming_figures([noise, right], LABELS, two, temperatures=[50.0, 0.05], usual=[0.05, 0.05])
    assert turned["naming_accuracy"] < 1
