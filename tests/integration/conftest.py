from collections.abc import Callable
from pathlib import Path

import pytest

from leadpp.cli import main
from leadpp.stages.world import make_world
from tools.draw_demo import draw_demo, draw_photos

Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A drawn folder with photographs, names, both networks and settings that keep every stage short."""
    out = tmp_path_factory.mktemp("demo")
    draw_demo(out, train=6, test=3, epochs=2)
    settings = (out / "settings.yaml").read_text()
    (out / "settings.yaml").write_text(
        settings.replace("size: 64", "size: 32").replace("batch_size: 16", "batch_size: 8")
    )
    return out


@pytest.fixture(scope="session")
def tiny_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A world of four species with eight pictures of 48 pixels each, half of them for testing."""
    out: Path = tmp_path_factory.mktemp("world") / "birds"
    make_world(out, species=4, per_species=8, size=48, seed=11)
    return out


@pytest.fixture(scope="session")
def flat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A flat folder without labels."""
    out = tmp_path_factory.mktemp("flat")
    draw_photos(out / "drawn", train=2, test=1)
    folder = out / "photos"
    folder.mkdir()
    for number, path in enumerate(sorted((out / "drawn").rglob("*.jpg"))):
        path.rename(folder / f"{number:02d}.jpg")
    return folder


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    """Run the command line in this process; return exit code, standard output and standard error."""

    def call(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main([str(word) for word in words])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call
