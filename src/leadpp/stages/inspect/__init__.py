"""Inspecting prototypes: how alike they are, whom a teacher cannot tell apart, and which no photograph is near."""

from leadpp.stages.inspect.findings import inspect_prototypes

__all__ = ["inspect_prototypes"]
