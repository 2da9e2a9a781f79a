"""The order of the stages: what each depends on, what is skipped and why, and what a run folder remembers."""

from leadpp.pipeline.demonstrating import demo
from leadpp.pipeline.job import STAGES, Job, Texts
from leadpp.pipeline.running import open_finished, resolve_config, run

__all__ = ["STAGES", "Job", "Texts", "demo", "open_finished", "resolve_config", "run"]
