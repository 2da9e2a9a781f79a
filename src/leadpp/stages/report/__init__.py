"""The stage that gathers a run folder into one HTML file that needs nothing else."""

from leadpp.stages.report.page import report

__all__ = ["report"]
