"""The report of photographs without labels: clusters, neighbours and a map; where labels are needed, one calm line."""

from pathlib import Path

import pytest
import torch

from leadpp.data.index import ImageIndex
from leadpp.engine.features import load_features
from leadpp.errors import ArtifactError
from leadpp.io.artifacts import read_table, write_json, write_table
from leadpp.stages.report import clusters, headline, neighbours, report, teacher
from leadpp.stages.report.material import Absent, Material
from tests.unit.stages.report.unlabelled import LARGE, write_unlabelled
from tests.unit.stages.report.world import CONFIG, EVIL, make_index


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> ImageIndex:
    return make_index(tmp_path_factory.mktemp("photographs"), labelled=False)


@pytest.fixture
def material(index: ImageIndex, tmp_path: Path) -> Material:
    write_unlabelled(tmp_path / "run", index)
    return Material(index=index, run=tmp_path / "run", config=CONFIG)


def test_neighbours_of_all_photographs_are_shown_without_right_or_wrong(material: Material) -> None:
    shown = neighbours.retrieval(material)
    assert (shown["of"], shown["wrong_share"], len(shown["rows"])) == ("student, gap, whole", None, 3)
    first = int(shown["rows"][0]["caption"].removesuffix(".png"))
    found = [int(one.caption.removesuffix(".png")) for one in shown["rows"][0]["found"]]
    assert {one.right for row in shown["rows"] for one in row["found"]} == {None}
    assert all((place < LARGE) == (first < LARGE) for place in found)


def test_the_map_has_a_colour_a_cluster(material: Material) -> None:
    maps = neighbours.maps(material)
    assert (maps["shown"], maps["of"], maps["labelled"], len(maps["maps"])) == (24, 24, False, 1)
    chart = maps["maps"][0]["chart"]
    assert chart.count("<circle") == 24
    assert chart.count("<title>cluster") == 2
    assert chart.index("cluster 1 · bee &amp; wasp") < chart.index("cluster 2 · &lt;/title&gt;")


def test_the_largest_clusters_come_first_with_their_typical_photographs_and_names(material: Material) -> None:
    shown = clusters.clusters(material)
    assert [(one["name"], one["size"]) for one in shown["clusters"]] == [
        ("Cluster 1", LARGE),
        ("Cluster 2", 24 - LARGE),
    ]
    assert (shown["count"], shown["named"]) == (2, True)
    assert shown["clusters"][0]["called"] == [("student", "bee & wasp", "92.9"), ("teacher", "bee & wasp", "100.0")]
    typical = [int(one["caption"].removesuffix(".png")) for one in shown["clusters"][0]["photographs"]]
    rows = torch.cat(
        [load_features(material.run / "embeddings" / f"student-gap-whole-{s}.npy") for s in ("train", "test")]
    )[:LARGE]
    assert typical == (rows @ rows.mean(dim=0)).argsort(descending=True)[:8].tolist()
    names = [("student", "bee & wasp", "0.75"), ("teacher", "bee & wasp", "0.75")]
    assert shown["clusters"][0]["photographs"][0]["names"] == names


def test_without_names_clusters_are_numbered(index: ImageIndex, tmp_path: Path) -> None:
    write_unlabelled(tmp_path / "run", index, named=False)
    bare = Material(index=index, run=tmp_path / "run", config=CONFIG)
    assert clusters.cluster_name(bare, 2) == "cluster 2"
    assert clusters.clusters(bare)["clusters"][0]["called"] == []


def test_the_teachers_entropy_is_that_of_all_photographs(material: Material) -> None:
    assert teacher.entropy(material)["count"] == 24


def test_what_needs_labels_says_so_even_beside_old_figures(material: Material) -> None:
    write_json(material.run / "evaluation.json", {"rows": []}, kind="evaluation")
    with pytest.raises(Absent, match="no labels, so nothing is measured"):
        headline.headline(material)
    with pytest.raises(Absent, match="no labels, so it is not known which are confused"):
        neighbours.confusion(material)


def test_missing_or_foreign_tables_are_told(material: Material) -> None:
    path = material.run / "photographs.parquet"
    table, _ = read_table(path, kind="photographs")
    write_table(path, table.slice(1), kind="photographs")
    with pytest.raises(ArtifactError, match="not the photographs of the index"):
        neighbours.maps(material)
    path.unlink()
    with pytest.raises(Absent, match=r"No photographs\.parquet"):
        clusters.clusters(material)
    for path in (material.run / "embeddings").iterdir():
        path.unlink()
    with pytest.raises(Absent, match=r"No embeddings for the photographs .* leadpp run"):
        neighbours.retrieval(material)


def test_the_page_has_clusters_and_says_nothing_of_right_and_wrong(material: Material) -> None:
    result = report(index=material.index, run=material.run, config=CONFIG)
    html = (material.run / "report.html").read_text(encoding="utf-8")
    assert result["missing"] == ["Figures", "Names", "Confusion"]
    assert 'id="clusters"' in html
    assert "✓" not in html
    assert "✗" not in html
    assert "one colour a cluster" in html
    assert EVIL not in html
