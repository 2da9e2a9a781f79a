"""Names for photographs that nobody has labelled, and clusters of them for which there is none."""

from leadpp.stages.names.discovering import discover
from leadpp.stages.names.naming import name

__all__ = ["discover", "name"]
