"""Nothing in the package runs what a file holds: read off the syntax tree of every module and tool."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted(path for folder in ("src", "tools", "benchmarks") for path in (ROOT / folder).rglob("*.py"))
PLAIN = ROOT / "benchmarks" / "obvious"
"""Code as anybody would write it at first, beside which ours is measured; it reads pictures that the benchmark drew."""

MODULES = {"pickle", "_pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "code", "codeop", "imp"}
ALLOWED = {"pickle": {"pickle.UnpicklingError"}}
"""What may be used of such a module: the error that ``torch.load`` raises at a file that it refuses."""

CALLS = {
    "eval": "runs text",
    "exec": "runs text",
    "compile": "makes code of text",
    "__import__": "imports by name",
    "os.system": "runs a shell",
    "os.popen": "runs a shell",
    "subprocess.getoutput": "runs a shell",
    "subprocess.getstatusoutput": "runs a shell",
    "yaml.load": "makes objects of any class; yaml.safe_load does not",
    "yaml.unsafe_load": "makes objects of any class",
    "yaml.full_load": "makes objects of many classes",
    "tempfile.mktemp": "can be raced",
    "xml.dom.minidom.parse": "expands entities without end",
    "pd.read_pickle": "unpickles",
    "pandas.read_pickle": "unpickles",
    "dist.all_gather_object": "unpickles",
    "dist.broadcast_object_list": "unpickles",
    "dist.gather_object": "unpickles",
    "dist.scatter_object_list": "unpickles",
    "dist.recv_object_list": "unpickles",
    "torch.jit.load": "runs what the file holds",
    "torch.package.PackageImporter": "runs what the file holds",
    "torch.hub.load": "runs what somebody uploads",
    "hub.load": "runs what somebody uploads",
}


def dotted(node: ast.expr) -> str:
    """Return what is called, as it is written."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return "..."


def words_of(call: ast.Call) -> dict[str, object]:
    """Return the keywords of a call that are constants."""
    return {word.arg: word.value.value for word in call.keywords if word.arg and isinstance(word.value, ast.Constant)}


def faults(code: str) -> Iterator[str]:
    """Say what a module does that none of ours may."""
    tree = ast.parse(code)
    used = {dotted(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for name in (alias.name.split(".")[0] for alias in node.names):
                beyond = {one for one in used if one.startswith(f"{name}.")} - ALLOWED.get(name, set())
                if name in MODULES and (beyond or name not in ALLOWED):
                    yield f"line {node.lineno}: import {name}"
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in MODULES:
            yield f"line {node.lineno}: from {node.module} import"
        elif isinstance(node, ast.Call):
            yield from call_faults(node)


def call_faults(call: ast.Call) -> Iterator[str]:
    name, words = dotted(call.func), words_of(call)
    here = f"line {call.lineno}: {name}"
    if name in CALLS:
        yield f"{here} {CALLS[name]}"
    if words.get("shell") is True:
        yield f"{here} runs a shell"
    if name in ("torch.load", "load_state_dict_from_url") and words.get("weights_only") is not True:
        yield f"{here} without weights_only=True"
    if name in ("np.load", "numpy.load") and words.get("allow_pickle") is not False:
        yield f"{here} without allow_pickle=False"
    if (
        words.get("allow_pickle") is True
        or words.get("trust_remote_code") is True
        or words.get("weights_only") is False
    ):
        yield f"{here} runs what a file holds"
    if name.endswith((".extractall", ".extract")) and words.get("filter") != "data":
        yield f"{here} without filter='data'"
    if name.endswith("Image.open") and not any(word.arg == "formats" for word in call.keywords):
        yield f"{here} of any format, some of which are handed to other programs"


@pytest.mark.parametrize(
    "path", [path for path in SOURCES if PLAIN not in path.parents], ids=lambda path: str(path.relative_to(ROOT))
)
def test_nothing_runs_what_a_file_holds(path: Path) -> None:
    assert list(faults(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    "code",
    [
        "import pickle\npickle.load(stream)", "import pickle\npickle.Unpickler(stream)", "from pickle import loads",
        "import marshal", "import shelve", "import joblib\njoblib.load(path)", "import dill as d",
        "torch.load(path)", "torch.load(path, weights_only=False)", "np.load(path)", "np.load(path, allow_pickle=True)",
        "eval(text)", "exec(text)", "os.system(text)", "subprocess.run(text, shell=True)", "os.popen(text)",
        "yaml.load(text)", "yaml.load(text, Loader=yaml.SafeLoader)", "archive.extractall(folder)",
        "archive.extractall(folder, filter='fully_trusted')", "Image.open(path)", "PIL.Image.open(path)",
        "AutoModel.from_pretrained(name, trust_remote_code=True)", "torch.hub.load(repo, name)",
    ],
)  # fmt: skip
def test_the_test_sees_it(code: str) -> None:
    assert list(faults(code)) != []


@pytest.mark.parametrize(
    "code",
    [
        "import pickle\ntry:\n    torch.load(path, weights_only=True)\nexcept pickle.UnpicklingError:\n    pass",
        "np.load(path, allow_pickle=False)", "yaml.safe_load(text)", "archive.extractall(folder, filter='data')",
        "Image.open(path, formats=FORMATS)", "subprocess.run(['ls'], check=True)", "model.eval()", "re.compile('x')",
        "torch.compile(network)",
    ],
)  # fmt: skip
def test_the_test_does_not_see_ghosts(code: str) -> None:
    assert list(faults(code)) == []
