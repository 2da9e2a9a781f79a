import inspect
from pathlib import Path

from leadpp.config.language import LLMConfig
from leadpp.text.llm import open_chat
from leadpp.text.meter import Meter


def test_a_connection_is_told_as_the_client_takes_it() -> None:
    told = LLMConfig(model="small", temperature=-1, retries=2)
    assert told.connection.keys() <= inspect.signature(open_chat).parameters.keys()
    assert told.connection["temperature"] is None
    assert LLMConfig(temperature=0.0).connection["temperature"] == 0.0
    assert all(
        value == getattr(told, name) for name, value in told.connection.items() if name != "temperature"
    )  # fmt: skip
    assert Meter(**LLMConfig(price_in=2.0).prices).cost_of(1_000_000, 5) == 2.0
    assert (LLMConfig().key_path, LLMConfig(key_file="k").key_path) == (None, Path("k"))
