"""The shape of the code: short functions, short files, honest names, heavy imports only where they are used."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "src" / "leadpp").rglob("*.py"))


def functions(path: Path) -> list[ast.FunctionDef]:
    return [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)]


def body_lines(node: ast.FunctionDef) -> int:
    first = node.body[1] if ast.get_docstring(node) and len(node.body) > 1 else node.body[0]
    return (node.end_lineno or node.lineno) - first.lineno + 1


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_fit_the_screen(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 500
    assert [node.name for node in functions(path) if body_lines(node) > 60] == []


def test_most_functions_are_short() -> None:
    sizes = sorted(body_lines(node) for path in SOURCES for node in functions(path))
    assert sizes[len(sizes) // 2] <= 10
    assert sizes[len(sizes) * 9 // 10] <= 30


def test_no_module_has_a_name_that_says_nothing() -> None:
    assert not {path.stem for path in SOURCES} & {"utils", "util", "helpers", "common", "misc"}


def test_nothing_unpickles() -> None:
    texts = {path: path.read_text() for path in SOURCES}
    assert not [path for path, text in texts.items() if "pickle.load" in text or "allow_pickle=True" in text]
    loads = [line for text in texts.values() for line in text.splitlines() if "torch.load(" in line]
    assert all("weights_only=True" in line for line in loads)


@pytest.mark.parametrize(
    "words",
    [
        ["--help"], ["run", "--help"], ["prepare", "--help"], ["world", "--help"], ["--version"], ["trian"],
        ["world", "w", "--species", "many"], ["demo", "--help"], ["demo", "--train.epoch", "3"],
        ["name", "--help"], ["name", "--run", "r", "x.jpg", "--top", "0"], ["discover", "--help"],
        ["prototypes", "--help"], ["prototypes", "inspect", "--help"], ["prototypes", "export", "a"],
        ["describe", "--help"], ["describe", "--names", "n", "--out", "d.csv", "--llm.budget", "much"],
        ["propose", "--help"], ["import-weights", "--help"], ["import-weights", "a"],
    ],
)  # fmt: skip
def test_help_and_mistakes_need_no_heavy_imports(words: list[str]) -> None:
    loaded = modules_after(f"from leadpp.cli import main; main({words!r})")
    assert not {"torch", "timm", "numpy", "pyarrow", "sklearn", "matplotlib", "PIL"} & loaded


def test_what_is_finished_is_known_without_the_libraries_of_networks() -> None:
    code = "from leadpp.pipeline.fingerprints import network_digests as digests; from leadpp import config, pipeline; "
    loaded = modules_after(code + "digests(config.build_config({'networks': 'world'}))")
    assert "leadpp.pipeline.demonstrating" in loaded
    assert not {"timm", "torchvision", "open_clip", "sklearn", "huggingface_hub"} & loaded


def test_evaluation_begins_without_what_it_needs_only_late() -> None:
    loaded = modules_after("import leadpp.stages.evaluate")
    assert "leadpp.engine.clusters" in loaded
    assert not {"sklearn", "open_clip", "transformers", "matplotlib", "scipy.optimize", "scipy.io"} & loaded


def modules_after(code: str) -> set[str]:
    """Run code in a process of its own and return the modules that it loaded."""
    code = f"import sys; {code}; print(sorted(sys.modules), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(ast.literal_eval(done.stderr.splitlines()[-1]))
