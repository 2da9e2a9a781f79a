"""LEAD++: learn, from unlabelled photographs, an encoder that tells look-alike categories apart."""

__version__ = "0.2.0"
