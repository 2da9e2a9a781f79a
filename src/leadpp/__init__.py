"""LEAD++: learn, from unlabelled photographs, an encoder that tells look-alike categories apart."""

import os

__version__ = "0.2.0"

# Nothing here tells anybody what is done with it, and neither do the libraries: the hub's client, which downloads
# networks, would send what it is used for along. Whoever wants that can set the variable to 0.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
