"""What every group of settings checks itself with."""

from leadpp.errors import ConfigError


def require(holds: bool, message: str) -> None:
    """Refuse a setting with a message if what it needs does not hold.

    Raises:
        ConfigError: It does not hold.
    """
    if not holds:
        raise ConfigError(message)
