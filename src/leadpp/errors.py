"""Errors that a user can mend: each message says what was expected, what was found and what to do."""


class LeadppError(Exception):
    """A mistake that the user can mend; the command line prints it as one line and exits with code 2."""


class ConfigError(LeadppError):
    """A setting that is unknown, of the wrong type or out of range."""


class DataError(LeadppError):
    """Photographs, labels or boxes that are missing, unreadable or inconsistent."""


class TextError(LeadppError):
    """Names, descriptions or prototypes that are missing, malformed or do not match the classes."""


class WeightsError(LeadppError):
    """A network that is unknown, or whose weights are not to be had."""


class ArtifactError(LeadppError):
    """A file of a run folder that is missing, damaged or of another kind, or that cannot be written."""


class CheckpointError(ArtifactError):
    """A checkpoint that does not fit the network it is loaded into."""


class WorldError(LeadppError):
    """A world of imaginary birds that cannot be made as asked."""


class LLMError(LeadppError):
    """A language model that cannot be reached, or not be used as asked."""


class UnansweredError(LLMError):
    """One request to which a language model gave no usable answer; others may be answered."""


class BudgetError(LLMError):
    """A request that was not sent, because it might have passed the budget."""


class SaidError(LeadppError):
    """A mistake of which another process of the run has told the user already."""
