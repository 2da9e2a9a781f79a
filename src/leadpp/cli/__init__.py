"""The command line: parse, call the pipeline or one stage, turn our errors into exit codes."""

from leadpp.cli.main import main

__all__ = ["main"]
