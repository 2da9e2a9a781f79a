"""Amounts of bytes in words."""

_MUCH_BYTES = 1e8


def size_words(size_bytes: float) -> str:
    """Say how many bytes there are, in GB (10^9 bytes) from a tenth of one on, else in MB.

    >>> size_words(3.42e9), size_words(2.5e6)
    ('3.4 GB', '2.5 MB')
    """
    return f"{size_bytes / 1e9:.1f} GB" if size_bytes >= _MUCH_BYTES else f"{size_bytes / 1e6:.1f} MB"
