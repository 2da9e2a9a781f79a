"""No command that needs no network reaches for one: watched from inside, and from the kernel where that is allowed."""

import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torchvision

from leadpp.cli.commands import COMMANDS
from tools.draw_demo import draw_demo

GUARD = Path(__file__).parent / "guard"

STAGES = ("localize", "prototypes build", "train", "evaluate", "report")
WORDS: dict[str, list[str]] = {
    "world": ["W", "--species", "4", "--per-species", "8", "--size", "48"],
    "prepare": ["folder", "photos", "P"],
    "run": ["--data", "photos", "--run", "R", "--config", "settings.yaml", "--names", "names.txt"],
    **{name: ["--data", "photos", "--run", "R", "--seed", "5"] for name in STAGES},
    "prototypes inspect": ["R"],
    "prototypes export": ["R", "prototypes.pt"],
    "describe": ["--names", "names.txt", "--out", "described.csv"],
    "propose": ["--domain", "birds", "--count", "9", "--out", "proposed.txt", "--llm.model", "m", "--dry-run"],
    "import-weights": ["resnet50.pth", "I"],
    "name": ["--run", "R", "photos"],
    "discover": ["--run", "R"],
    "verify": ["R"],
    "compare": ["R", "R"],
    "demo": ["--run", "D", "--species", "4", "--per-species", "16", "--epochs", "1"],
}
"""What is said to each command, in a folder with drawn photographs, in this order; nobody names a server in it."""

IN_A_NAMESPACE = ["unshare", "--user", "--map-root-user", "--net"]


@functools.cache
def namespaces() -> bool:
    """Whether this machine lets us have a network of our own, with nothing in it."""
    if shutil.which("unshare") is None:
        return False
    return subprocess.run([*IN_A_NAMESPACE, "true"], capture_output=True, check=False).returncode == 0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("guarded")
    draw_demo(out, train=3, test=2, epochs=1)
    settings = (out / "settings.yaml").read_text()
    settings = settings.replace("size: 64", "size: 32").replace("size: 128", "size: 64")
    (out / "settings.yaml").write_text(settings.replace("batch_size: 16", "batch_size: 8"))
    (out / "home").mkdir()
    return out


def guarded(code: list[str], folder: Path) -> tuple[subprocess.CompletedProcess[str], str]:
    """Run Python with the guard, and return what it did and what the guard and the kernel saw."""
    log = folder / "attempts.log"
    log.unlink(missing_ok=True)
    paths = [str(GUARD), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "TRANSFORMERS_", "COV"))}
    known = {"PYTHONPATH": os.pathsep.join(paths), "HOME": str(folder / "home"), "LEADPP_GUARD_LOG": str(log)}
    command = [sys.executable, *code]
    if namespaces():
        command = [
            *IN_A_NAMESPACE,
            "sh",
            "-c",
            '"$@"; code=$?; cat /proc/net/snmp > kernel.log; exit $code',
            "sh",
            *command,
        ]
    done = subprocess.run(
        command, cwd=folder, env=kept | known, capture_output=True, text=True, timeout=900, check=False
    )
    seen = log.read_text(encoding="utf-8") if log.exists() else ""
    return done, seen + kernel_attempts(folder / "kernel.log")


def kernel_attempts(snmp: Path) -> str:
    """Say what the kernel counted of packets for which there was no way out, and of connections that were begun."""
    if not snmp.exists():
        return ""
    lines = [line.split() for line in snmp.read_text().splitlines()]
    counted = {
        f"{names[0]}{name}": int(value)
        for names, values in zip(lines[::2], lines[1::2], strict=True)
        for name, value in zip(names[1:], values[1:], strict=True)
    }
    snmp.unlink()
    return "".join(f"{name} {counted[name]}\n" for name in ("Ip:OutNoRoutes",) if counted[name])


@pytest.mark.parametrize(
    "code",
    [
        "import socket; socket.create_connection(('192.0.2.1', 80), timeout=1)",
        "import socket; socket.getaddrinfo('example.invalid', 443)",
        "import urllib.request; urllib.request.urlopen('http://192.0.2.1/')",
        "import subprocess, sys; code = 'import socket; socket.gethostbyname(\"example.invalid\")'; "
        "subprocess.run([sys.executable, '-c', code])",
        "import socket; one = socket.socket(type=socket.SOCK_DGRAM); one.sendto(b'x', ('192.0.2.1', 53))",
    ],
)  # fmt: skip
def test_the_guard_sees_attempts(folder: Path, code: str) -> None:
    assert guarded(["-c", code], folder)[1] != ""


@pytest.mark.skipif(not namespaces(), reason="this machine gives no network namespaces")
def test_the_kernel_sees_attempts_that_python_does_not(folder: Path) -> None:
    """A library may open sockets without asking Python."""
    code = (
        "import ctypes, socket, struct; libc = ctypes.CDLL(None); "
        "one = libc.socket(socket.AF_INET, socket.SOCK_DGRAM, 0); "
        "to = struct.pack('=HH4s8x', socket.AF_INET, socket.htons(53), socket.inet_aton('192.0.2.1')); "
        "libc.sendto(one, b'x', 1, 0, to, len(to))"
    )
    assert "Ip:OutNoRoutes" in guarded(["-c", code], folder)[1]


def test_what_stays_on_this_machine_is_let_through(folder: Path) -> None:
    code = (
        "import socket; own = socket.create_server(('127.0.0.1', 0)); "
        "socket.create_connection(own.getsockname(), timeout=1); socket.getaddrinfo('localhost', 80)"
    )
    if namespaces():
        pytest.skip("the loopback of a new network namespace is down")
    done, seen = guarded(["-c", code], folder)
    assert (done.returncode, seen) == (0, ""), done.stderr


def test_every_command_is_watched() -> None:
    """Whoever adds a command says here how it is run."""
    assert COMMANDS.keys() == WORDS.keys()


@pytest.mark.slow
def test_no_command_reaches_for_the_network(folder: Path) -> None:
    torch.save(torchvision.models.resnet50(weights=None).state_dict(), folder / "resnet50.pth")
    for command, words in WORDS.items():
        done, seen = guarded(["-m", "leadpp", *command.split(), *words], folder)
        assert done.returncode == 0, (command, done.stderr)
        assert seen == "", command


@pytest.mark.parametrize("command", COMMANDS)
def test_no_help_reaches_for_the_network(folder: Path, command: str) -> None:
    done, seen = guarded(["-m", "leadpp", *command.split(), "--help"], folder)
    assert (done.returncode, seen) == (0, ""), done.stderr


def test_libraries_are_told_to_say_nothing(folder: Path) -> None:
    code = "import leadpp; from huggingface_hub import constants; print(constants.HF_HUB_DISABLE_TELEMETRY)"
    done, seen = guarded(["-c", code], folder)
    assert (done.stdout.strip(), seen) == ("True", ""), done.stderr
