import os
import subprocess
import sys
from pathlib import Path

import pytest

from leadpp.errors import ArtifactError
from leadpp.io.lock import exclusive

HOLD = """
import sys
from pathlib import Path
from leadpp.io.lock import exclusive
with exclusive(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_one_process_at_a_time_and_no_trace_of_one_that_died(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path / "run")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(ArtifactError, match=f"process {other.pid}\\) is at work here"), exclusive(tmp_path / "run"):
            pass
        other.kill()
    with exclusive(tmp_path / "run"):
        assert (tmp_path / "run" / ".lock").read_text() == str(os.getpid())


def test_a_file_where_the_folder_is_meant(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    with pytest.raises(ArtifactError, match="a file stands"), exclusive(tmp_path / "run"):
        pass
    (tmp_path / "other" / ".lock").mkdir(parents=True)
    with pytest.raises(ArtifactError, match="cannot write there"), exclusive(tmp_path / "other"):
        pass
