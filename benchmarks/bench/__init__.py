"""The package against the obvious way, in turn, in one run."""
