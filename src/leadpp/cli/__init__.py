"""The command line: parse, call the pipeline or one stage, turn our errors into exit codes."""

from leadpp.cli.entry import main

__all__ = ["main"]
