from pathlib import Path
from typing import Any

import pytest
import yaml

from leadpp.config import (
    NETWORKS,
    PRESETS,
    build_config,
    merge_settings,
    option_fields,
    read_yaml,
    to_mapping,
    write_yaml,
)
from leadpp.config.tree import Config, TextConfig
from leadpp.errors import ConfigError


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_resolved_settings_read_back_as_the_same_tree(preset: str) -> None:
    config = build_config({"preset": preset, "train": {"epochs": 7}, "evaluate": {"sets": ["crop"]}})
    assert build_config(yaml.safe_load(write_yaml(config))) == config


def test_later_layers_go_over_earlier_ones_and_all_over_the_preset() -> None:
    config = build_config({"preset": "paper", "train": {"epochs": 3, "batch_size": 8}}, {"train": {"epochs": 5}})
    assert (config.train.epochs, config.train.batch_size) == (5, 8)
    assert config.train.key_update == "forward"
    assert build_config({"preset": "paper"}, {"train": {"key_update": "step"}}).train.key_update == "step"


def test_the_last_named_preset_is_the_base() -> None:
    assert build_config({"preset": "paper"}, {"preset": "moco"}).train.key_update == "step"


def test_networks_stand_over_the_preset_and_under_every_layer() -> None:
    config = build_config({"networks": "world", "preset": "paper"}, {"train": {"epochs": 3}})
    assert (config.networks, config.student.backbone) == ("world", "builtin:world-backbone")
    assert (config.localize.backbone, config.teacher.model) == ("builtin:world-backbone", "builtin:world-clip")
    assert (config.input.size, config.localize.size, config.localize.fit_size) == (96, 160, 0)
    assert (config.train.epochs, config.train.batch_size) == (3, 32)
    assert config.train.key_update == "forward"
    file = {"networks": "world", "input": {"size": 64}}
    assert build_config(file).input.size == 64
    assert build_config(file, {"networks": ""}).student.backbone == "resnet50.tv_in1k"


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_networks_change_names_sizes_lengths_and_the_temperature_of_their_teacher_alone(preset: str) -> None:
    alone, within = (option_values(build_config({"preset": preset, "networks": name})) for name in ("", "world"))
    changed = {name for name, value in within.items() if value != alone[name]} - {"networks"}
    assert {name for name in changed if not name.startswith("localize.")} == {
        "input.size", "teacher.model", "student.backbone", "loss.distillation_temperature",
        "train.epochs", "train.batch_size", "train.precision",
    }  # fmt: skip


def option_values(config: Config) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for leaf in option_fields():
        node: Any = config
        for name in leaf.path:
            node = getattr(node, name)
        values[".".join(leaf.path)] = node
    return values


@pytest.mark.parametrize("networks", sorted(NETWORKS))
@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_every_preset_has_settings_for_every_networks(preset: str, networks: str) -> None:
    config = build_config({"preset": preset, "networks": networks})
    assert build_config(yaml.safe_load(write_yaml(config))) == config


def test_dashes_and_underscores_are_the_same() -> None:
    assert build_config({"train": {"batch-size": 4}}) == build_config({"train": {"batch_size": 4}})


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"trian": {}}, ["unknown setting 'trian'", "train"]),
        ({"train": {"epoch": 3}}, ["'train.epoch'", "train.epochs"]),
        ({"epochs": 3}, ["'epochs'", "train.epochs"]),
        ({"train": {"epochs": "many"}}, ["train.epochs", "whole number", "'many'"]),
        ({"train": {"epochs": 2.5}}, ["train.epochs", "whole number", "2.5"]),
        ({"train": {"epochs": True}}, ["train.epochs", "whole number"]),
        ({"train": {"learning_rate": "fast"}}, ["train.learning_rate", "a number"]),
        ({"train": {"learning_rate": float("nan")}}, ["finite"]),
        ({"train": 3}, ["train", "group of settings"]),
        ({"train": None}, ["train", "group of settings"]),
        ({"localize": {"zero_rows": "perhaps"}}, ["true or false"]),
        ({"localize": {"backbone": ["a"]}}, ["localize.backbone", "text"]),
        ({"localize": {"policy": "round"}}, ["localize.policy", "square", "'round'"]),
        ({"evaluate": {"sets": 3}}, ["evaluate.sets", "list"]),
        ({"evaluate": {"sets": "whole,half"}}, ["evaluate.sets", "'half'"]),
        ({"evaluate": {"probe_rates": "3,fast"}}, ["evaluate.probe_rates", "a number", "'fast'"]),
        ({"evaluate": {"probe_rates": [30, 0]}}, ["evaluate.probe_rates", "above 0"]),
        ({"evaluate": {"probe_decays": [-0.1]}}, ["evaluate.probe_decays", "0 or more"]),
        ({"evaluate": {"probe_decays": []}}, ["evaluate.probe_decays"]),
        ({"preset": "best"}, ["preset", "lead++"]),
        ({"preset": ["lead"]}, ["preset"]),
        ({"networks": "moon"}, ["networks must be world, got 'moon'"]),
        ({"networks": None}, ["networks must be world"]),
        ({"teacher": {"view": "cached"}}, ["teacher.view must be clean, augmented or cached:K", "got 'cached'"]),
        ({"teacher": {"view": "cached:0"}}, ["teacher.view must be", "got 'cached:0'"]),
        ({"teacher": {"view": "cached:-1"}}, ["teacher.view must be", "got 'cached:-1'"]),
        ({"teacher": {"view": "kept:3"}}, ["teacher.view must be", "got 'kept:3'"]),
        ({"loss": {"alpha": -1}}, ["loss.alpha", "0 or more"]),
        ({"localize": {"threshold": 1.0}}, ["localize.threshold", "[0, 1)"]),
        ({"text": {"template": "a photo"}}, ["text.template", "{}"]),
        ({"text": {"template": "a {}|a photo"}}, ["text.template", "each sentence"]),
        ({"text": {"template": "a {} | a {}"}}, ["text.template", "twice"]),
        ({"text": {"mix": "0.5"}}, ["text.mix", "names=W"]),
        ({"text": {"mix": "names=1.1"}}, ["text.mix", "from 0 to 1"]),
        ({"text": {"mix": "names=half"}}, ["text.mix", "names=half"]),
        ({"text": {"mix": "texts=0.5"}}, ["text.mix", "texts=0.5"]),
        ({"text": {"long": "cut"}}, ["text.long", "split, truncate, summary"]),
        ({"text": {"long_text": "split"}}, ["text.long_text", "text.long"]),
        ({"llm": {"min_words": 80}}, ["llm.min_words", "llm.max_words"]),
        ({"llm": {"concurrency": 0}}, ["llm.concurrency", "at least 1"]),
        ({"llm": {"temperature": -2}}, ["llm.temperature", "-1, got -2"]),
        ({"llm": {"timeout_s": 0}}, ["llm.timeout_s", "above 0"]),
        ({"llm": {"budget": 1.5}}, ["llm.budget", "llm.price_in"]),
        ({"llm": {"key": "sk-x"}}, ["'llm.key'", "llm.key_file"]),
        ({"name": {"top": 0}}, ["name.top", "at least 1"]),
        ({"name": {"unsure": 1.5}}, ["name.unsure", "from 0 to 1"]),
        ({"name": {"temperature": -1}}, ["name.temperature", "0 (fitted)"]),
        ({"discover": {"typical": 0}}, ["discover.typical", "at least 1"]),
        ({"seed": -1}, ["seed"]),
    ],
)
def test_mistakes_are_named(settings: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        build_config(settings)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_merging_settings_leaves_the_layers_alone() -> None:
    low, high = {"train": {"batch-size": 4, "epochs": 1}}, {"train": {"epochs": 2}, "seed": 3}
    merged = merge_settings(low, high)
    assert merged == {"train": {"batch_size": 4, "epochs": 2}, "seed": 3}
    merged["train"]["epochs"] = 9
    assert (low["train"]["epochs"], high["train"]) == (1, {"epochs": 2})


def test_numbers_that_yaml_leaves_as_text_are_numbers() -> None:
    assert build_config({"train": {"learning_rate": "5e-4"}}).train.learning_rate == 5e-4
    assert build_config({"train": {"learning_rate": 1}}).train.learning_rate == 1.0


def test_a_bare_no_in_yaml_is_the_word_no() -> None:
    assert build_config(yaml.safe_load("teacher: {use: no}")).teacher.use == "no"


def test_lists_may_be_words_with_commas() -> None:
    assert build_config({"evaluate": {"sets": "crop, whole"}}).evaluate.sets == ("crop", "whole")
    assert build_config({"evaluate": {"probe_rates": "10, 30"}}).evaluate.probe_rates == (10.0, 30.0)


def test_yaml_files(tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text("")
    assert read_yaml(path) == {}
    for text, word in (("[1, 2]", "mapping"), ("a: [", "YAML")):
        path.write_text(text)
        with pytest.raises(ConfigError, match=word):
            read_yaml(path)
    with pytest.raises(ConfigError, match="cannot read"):
        read_yaml(tmp_path / "none.yaml")


def test_every_setting_is_documented_and_has_a_default() -> None:
    mapping = to_mapping(build_config())
    for leaf in option_fields():
        assert leaf.text.endswith((".", ")")), leaf.path
        node: Any = mapping
        for name in leaf.path:
            node = node[name]
        assert node == (list(leaf.default) if isinstance(leaf.default, tuple) else leaf.default), leaf.path


def test_groups_are_those_promised() -> None:
    groups = {leaf.path[0] for leaf in option_fields() if len(leaf.path) > 1}
    promised = "input augment localize text llm teacher student loss train checkpoint evaluate report name discover"
    assert groups == set(promised.split())


def test_a_file_of_before_a_setting_was_renamed_is_read_as_it_was_meant(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("evaluate:\n  probe_epochs: 7\n  probe_learning_rate: 3.5\nseed: 4\n")
    config = build_config(read_yaml(file))
    assert (config.evaluate.probe_rates, config.evaluate.probe_epochs, config.seed) == ((3.5,), 7, 4)
    file.write_text("text: {long_text: cut}\n")
    assert build_config(read_yaml(file)).text.long == "truncate"
    file.write_text("text: {long_text: split, template: '{}'}\n")
    assert build_config(read_yaml(file)).text == TextConfig(long="split", template="{}")
    file.write_text("evaluate: nonsense\n")
    with pytest.raises(ConfigError, match="evaluate"):
        build_config(read_yaml(file))


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (7, (7, "epochs")),  # as older files have it
        ("7", (7, "epochs")),
        ("1epoch", (1, "epochs")),
        ("2epochs", (2, "epochs")),
        ("500steps", (500, "steps")),
        ("1 step", (1, "steps")),
        ("10min", (10, "minutes")),
        ("0.5 min", (0.5, "minutes")),
    ],
)
def test_rhythms_of_checkpoints(written: object, meant: tuple[float, str]) -> None:
    config = build_config({"checkpoint": {"every": written}})
    assert config.checkpoint.rhythm == meant
    again = build_config(yaml.safe_load(write_yaml(config)))
    assert again == config


@pytest.mark.parametrize("written", ["0", "0min", "-1", "1.5epochs", "steps", "10 minutes", "٣steps", "5steps\n", ""])
def test_rhythms_that_are_none(written: str) -> None:
    with pytest.raises(ConfigError, match=r"checkpoint\.every must be a number above 0"):
        build_config({"checkpoint": {"every": written}})


def test_templates_are_divided_and_the_mix_is_a_number() -> None:
    text = build_config({"text": {"template": "a {}.| the {} ", "mix": "names=0.25"}}).text
    assert (text.templates, text.names_share) == (("a {}.", "the {}"), 0.25)
    assert (TextConfig().templates, TextConfig().names_share) == (("a photo of a {}.",), 0.0)
