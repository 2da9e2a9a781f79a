"""Settings of the language model that writes descriptions and proposes names."""

from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from leadpp.config.requirement import require


class Connection(TypedDict):
    """What `leadpp.text.llm.open_chat` is told of the server; the key to it is found by `key_path`."""

    base_url: str
    model: str
    temperature: float | None
    """None leaves it to the server."""
    concurrency: int
    timeout_s: float
    retries: int


class Prices(TypedDict):
    """What `leadpp.text.meter.Meter` is told."""

    price_in: float
    price_out: float
    budget: float


@dataclass(frozen=True, kw_only=True, slots=True)
class LLMConfig:
    """The language model; the key to it is no setting, so that no file of a run holds it."""

    base_url: str = "https://api.openai.com/v1"
    """Address of any server that speaks the OpenAI protocol; it usually ends in /v1."""
    model: str = ""
    """Name of the model, as the server knows it; empty asks nobody."""
    key_file: str = ""
    """File that holds the key to the server; without it, the environment's OPENAI_API_KEY is taken."""
    prompt: str = ""
    """File of the prompt template; empty takes the one that comes along."""
    domain: str = ""
    """What kind of thing the classes are, such as `bird species`."""
    parts: tuple[str, ...] = ()
    """What a description should speak of, such as `bill,wings,tail`."""
    min_words: int = 50
    """Fewest words of a description."""
    max_words: int = 75
    """Most words of a description."""
    per_class: int = 1
    """Descriptions of each class; several are averaged as prototypes."""
    attempts: int = 3
    """How often a description is asked for in all; a bad reply is asked again with the reason."""
    temperature: float = 0.7
    """How freely words are drawn; -1 leaves it to the server."""
    max_tokens: int = 1000
    """Most tokens of a reply; a model that thinks before it answers needs some thousands."""
    concurrency: int = 8
    """Requests at once."""
    timeout_s: float = 120.0
    """Seconds after which a reply is no longer waited for."""
    retries: int = 5
    """How often a request is sent again that failed in a way that may pass: 5xx, a timeout, a broken reply. A server
    that is crowded (429, 503) is asked more slowly instead, and each request again for up to ten minutes."""
    price_in: float = 0.0
    """Price of a million tokens of prompts."""
    price_out: float = 0.0
    """Price of a million tokens of replies."""
    budget: float = 0.0
    """The most that one command may cost, in the currency of the prices: it stops before that is passed; 0 sets no
    limit."""

    def __post_init__(self) -> None:
        require(1 <= self.min_words <= self.max_words, "llm.min_words must be from 1 to llm.max_words")
        for name in ("per_class", "attempts", "max_tokens", "concurrency"):
            require(getattr(self, name) >= 1, f"llm.{name} must be at least 1, got {getattr(self, name)}")
        for name in ("retries", "price_in", "price_out", "budget"):
            require(getattr(self, name) >= 0, f"llm.{name} must be 0 or more, got {getattr(self, name)}")
        require(self.timeout_s > 0, f"llm.timeout_s must be above 0, got {self.timeout_s}")
        require(
            self.temperature >= 0 or self.temperature == -1,
            f"llm.temperature must be 0 or more, or -1, got {self.temperature}",
        )
        require(
            not self.budget or self.price_in > 0 or self.price_out > 0,
            "llm.budget needs a price to count with: give llm.price_in and llm.price_out, of a million tokens each",
        )

    @property
    def connection(self) -> Connection:
        """Where and how a model is asked."""
        return Connection(
            base_url=self.base_url,
            model=self.model,
            temperature=None if self.temperature < 0 else self.temperature,
            concurrency=self.concurrency,
            timeout_s=self.timeout_s,
            retries=self.retries,
        )

    @property
    def prices(self) -> Prices:
        """What tokens cost, and what may be spent."""
        return Prices(price_in=self.price_in, price_out=self.price_out, budget=self.budget)

    @property
    def key_path(self) -> Path | None:
        """`key_file`; None where it is empty."""
        return Path(self.key_file) if self.key_file else None
