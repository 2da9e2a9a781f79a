"""Entry point: choose the command, show progress, print results, and map errors to exit codes."""

import contextlib
import difflib
import importlib
import os
import signal
import sys
import threading
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from leadpp import __version__
from leadpp.cli.commands import COMMANDS
from leadpp.cli.parser import UsageError
from leadpp.distributed.launch import read_launch
from leadpp.errors import LeadppError, SaidError
from leadpp.io.words import plain_line

_TOP_TEXT = """\
usage: leadpp COMMAND [options]

Learn, from unlabelled photographs, an encoder that tells look-alike categories apart.

commands:
{commands}

`leadpp COMMAND --help` lists the options of a command; `leadpp --version` prints the version.
The main one:  leadpp run --data PHOTOS --run RUN --names NAMES.txt
To look on:    leadpp demo

exit codes: 0 done; 1 compare or verify found a difference; 2 a mistake, told in one line; 130 Ctrl-C; 143 SIGTERM;
138 SIGUSR1 (128 and the number of the signal). A training finishes its step and saves before it ends by a signal, and
--resume goes on from there; by itself where SLURM_RESTART_COUNT or TORCHELASTIC_RESTART_COUNT says so.
"""

_KEPT = {
    "demo": "finished stages are kept; run the same command to go on",
    "world": "nothing was written, a world is written whole or not at all; run the same command to draw it",
    "import-weights": "nothing was written; run the same command again",
    "describe": "finished descriptions are kept; run the same command to go on",
    "propose": "what the model has answered is kept; run the same command to go on",
    "name": "the files of an earlier time are as they were; run the same command again",
    "discover": "the files of an earlier time are as they were; run the same command again",
}
"""What there is after Ctrl-C, and how to go on, by the first word of the command."""

OK, MISTAKE, INTERRUPTED = 0, 2, 130
_NO_MEMORY = ("OutOfMemoryError", "DefaultCPUAllocator")
_AFTER_MEMORY = "give it more, or lower input.size, train.batch_size, localize.batch_size or evaluate.batch_size"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: Words after ``leadpp``; those of the process when left out.

    Returns:
        0 if all went well, 1 if a comparison found a difference, 2 for a mistake of the user (one line on standard
        error says which), 130 for Ctrl-C, and 128 and the number of any other signal.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    words = words[1:] if words[:1] == ["--"] else words  # torchrun hands it on, by some Pythons
    if arguments is None:
        _leave_on_signals()
    try:
        with _one_speaks():
            return _dispatch(words)
    except SaidError:
        return MISTAKE
    except LeadppError as error:
        if _leads() or not isinstance(error, UsageError):  # all processes have the same words, and the first says so
            sys.stderr.write(f"leadpp: error: {_who()}{plain_line(' '.join(str(error).split()))}\n")
        return MISTAKE
    except (MemoryError, RuntimeError) as error:
        return _say_memory_ran_out(error)
    except KeyboardInterrupt:
        if _leads():
            sys.stderr.write(f"leadpp: interrupted; {_after_interrupt(words)}\n")
        if arguments is None and _somebody_writes():  # Ctrl-C came twice: the file in place is whole, the new one lost
            sys.stderr.flush()
            os._exit(INTERRUPTED)
        return INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()
        return OK


@contextlib.contextmanager
def _one_speaks() -> Iterator[None]:
    """Let only the first of several processes print results and help."""
    if _leads():
        yield
        return
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere, contextlib.redirect_stdout(nowhere):
        yield


def _say_memory_ran_out(error: MemoryError | RuntimeError) -> int:
    """Say in one line that memory ran out; an error of another kind goes on."""
    if not isinstance(error, MemoryError) and not any(words in f"{type(error)} {error}" for words in _NO_MEMORY):
        raise error
    reason = plain_line(str(error).split("\n", maxsplit=1)[0]) or type(error).__name__
    sys.stderr.write(f"leadpp: error: {_who()}memory ran out ({reason}); {_AFTER_MEMORY}\n")
    return MISTAKE


def _leads() -> bool:
    """Tell whether this is the process that speaks to people."""
    try:
        return read_launch().leads
    except LeadppError:
        return True


def _who() -> str:
    """Say which of several processes speaks, where it is not the first."""
    return "" if _leads() else f"(process {read_launch().rank} of {read_launch().count}) "


def _leave_on_signals() -> None:
    """Have SIGTERM (a batch system, a container, ``timeout``) and SIGUSR1 (SLURM) clean up as Ctrl-C does.

    The exit code is 128 and the number of the signal: 143 and, on Linux, 138. A training listens for itself.
    """
    own = os.getpid()

    def leave(number: int, frame: object) -> None:
        del frame
        if os.getpid() != own:  # a forked reading process has nothing to clean up
            os._exit(128 + number)
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, leave)
    if sys.platform != "win32":
        signal.signal(signal.SIGUSR1, leave)


def _somebody_writes() -> bool:
    """Tell whether a thread is left that the end of this process would wait for."""
    return any(not thread.daemon for thread in threading.enumerate() if thread is not threading.main_thread())


def _after_interrupt(words: list[str]) -> str:
    """Say what there is after Ctrl-C, and how to go on."""
    usual = "finished stages are kept; run the same command to go on, a training with --resume"
    return _KEPT.get(words[0] if words else "", usual)


def _dispatch(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        (sys.stdout if words else sys.stderr).write(top_help())
        return OK if words else MISTAKE
    if words[0] == "--version":
        sys.stdout.write(f"leadpp {__version__}\n")
        return OK
    if len(words) == 2 and words[1] in ("-h", "--help") and _verbs(words[0]):
        sys.stdout.write(top_help(_verbs(words[0])))
        return OK
    command, rest = _command_of(words)
    processes = read_launch().count
    if processes > 1 and not COMMANDS[command].shared:
        raise UsageError(f"leadpp {command} is the work of one process, but {processes} were started; start one")
    module = importlib.import_module(f"leadpp.cli.commands.{COMMANDS[command].module}")
    try:
        return int(module.execute(command, rest))
    except SystemExit as stop:  # argparse leaves so after it has printed the help
        return int(stop.code or 0)


def _command_of(words: list[str]) -> tuple[str, list[str]]:
    """Divide the words into a command, of one word or two, and what is said to it."""
    for count in (2, 1):
        command = " ".join(words[:count])
        if len(words) >= count and command in COMMANDS:
            return command, words[count:]
    verbs = [f"`leadpp {name}`" for name in _verbs(words[0])]
    if verbs:
        raise UsageError(f"leadpp {words[0]}: expected {' or '.join(verbs)}")
    raise unknown_command(words[0])


def _verbs(noun: str) -> list[str]:
    """Return the commands that begin with a noun."""
    return [name for name in COMMANDS if name.startswith(f"{noun} ")]


def top_help(names: Collection[str] = COMMANDS) -> str:
    """Return what ``leadpp --help`` prints, of all commands or of some."""
    lines = [f"  {name:<20}{COMMANDS[name].text}" for name in names]
    return _TOP_TEXT.format(commands="\n".join(lines))


def unknown_command(word: str) -> UsageError:
    """Say that a command is unknown, with the closest."""
    close = difflib.get_close_matches(word, COMMANDS, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]!r}?" if close else f"the commands are {', '.join(COMMANDS)}"
    return UsageError(f"leadpp: unknown command {word!r}; {hint}")
