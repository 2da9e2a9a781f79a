"""Addresses of servers, checked before anybody shows them or goes there."""

from urllib.parse import urlsplit

from leadpp.errors import LLMError


def checked_address(base_url: str) -> str:
    """Return the address of a server without spaces and slashes at its end.

    Raises:
        LLMError: It is no web address, or has a user, password or query in it; such a one is not shown.
    """
    try:
        parts = urlsplit(base_url.strip())
        hides = "@" in parts.netloc or bool(parts.query or parts.fragment)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        hides, good = "@" in base_url, False
    if hides:
        raise LLMError(
            "the base URL (--llm.base-url) has a user, a query or a fragment in it, which would be shown; give the "
            "address alone, and a key by OPENAI_API_KEY or --llm.key-file"
        )
    if not good:
        raise LLMError(f"{base_url!r} is no web address; expected one like http://127.0.0.1:11434/v1 (--llm.base-url)")
    return base_url.strip().rstrip("/")
