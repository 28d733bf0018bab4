from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from coldwarm.catalog.catalog import CatalogModel
from coldwarm.catalog.preparing import config_for, drafter_for, overrides_for
from coldwarm.core.errors import CatalogError
from tests.support.records import catalog_model, model_entry


def with_deviations(config: dict[str, Any], *deviations: dict[str, Any]) -> CatalogModel:
    entry = model_entry(deviation=[{"reason": "r", **deviation} for deviation in deviations])
    return catalog_model(entry, config)


def with_shrinks(*shrinks: dict[str, Any]) -> CatalogModel:
    return catalog_model(model_entry(shrink=[{"reason": "r", **shrink} for shrink in shrinks]))


def test_without_deviations_the_published_config_is_started() -> None:
    model = catalog_model(config={"a": 1})
    assert config_for(model, "cpu") == {"a": 1}


def test_deviations_apply_only_to_their_devices() -> None:
    model = with_deviations({"a": 1}, {"devices": ["cpu"], "set": {"a": 2}})
    assert config_for(model, "cpu") == {"a": 2}
    assert config_for(model, "cuda") == {"a": 1}


def test_a_deviation_applies_use_then_remove_then_set() -> None:
    config = {"outer": 1, "text_config": {"a": 1, "b": 2, "c": 3}}
    model = with_deviations(config, {"use": "text_config", "remove": ["a", "b"], "set": {"b": 20, "d": 4}})
    assert config_for(model, "cpu") == {"b": 20, "c": 3, "d": 4}


def test_deviations_are_applied_in_order() -> None:
    config = {"text_config": {"a": 1, "b": 2}}
    model = with_deviations(config, {"use": "text_config"}, {"remove": ["a"]}, {"set": {"a": 9}}, {"set": {"a": 10}})
    assert config_for(model, "cpu") == {"a": 10, "b": 2}


def test_the_published_config_is_not_changed() -> None:
    config: dict[str, Any] = {"a": 1, "text_config": {"b": {"c": 2}}}
    model = with_deviations(config, {"use": "text_config", "set": {"x": 1}})
    config_for(model, "cpu")["b"]["c"] = 99
    assert config == {"a": 1, "text_config": {"b": {"c": 2}}}


def test_preparing_twice_gives_the_same_config() -> None:
    model = with_deviations({}, {"set": {"text_config": {"a": 1, "b": 2}}}, {"use": "text_config", "remove": ["a"]})
    assert config_for(model, "cpu") == {"b": 2}
    assert config_for(model, "cpu") == {"b": 2}


@pytest.mark.parametrize(
    ("deviation", "key"),
    [
        ({"use": "text_config"}, "deviation.1.use"),
        ({"use": "a"}, "deviation.1.use"),
        ({"remove": ["a", "gone"]}, "deviation.1.remove"),
        ({"remove": ["a", "a"]}, "deviation.1.remove"),
    ],
)
def test_a_deviation_that_does_not_match_the_config_is_an_error_that_names_the_key(
    deviation: dict[str, Any], key: str
) -> None:
    model = with_deviations({"a": 1}, {"set": {"b": 2}}, deviation)
    with pytest.raises(CatalogError) as raised:
        config_for(model, "cpu")
    assert raised.value.path == model.path
    assert raised.value.key == key
    missing = deviation.get("use") or deviation["remove"][-1]
    assert repr(missing) in raised.value.problem
    assert str(model.config_path) in raised.value.problem


def test_the_key_of_a_deviation_for_another_device_may_be_missing() -> None:
    model = with_deviations({"a": 1}, {"devices": ["cpu"], "remove": ["gone"]})
    assert config_for(model, "cuda") == {"a": 1}


def test_without_shrinks_there_are_no_overrides() -> None:
    assert overrides_for(catalog_model(), "cpu") == {}


def test_later_overrides_take_precedence() -> None:
    model = with_shrinks({"overrides": {"a": 1, "b": 1}}, {"overrides": {"b": 2, "c": 2}})
    assert overrides_for(model, "cpu") == {"a": 1, "b": 2, "c": 2}


def test_nested_overrides_are_merged() -> None:
    model = with_shrinks(
        {"overrides": {"text_config": {"a": 1, "deep": {"x": 1}}}},
        {"overrides": {"text_config": {"b": 2, "deep": {"y": 2}}}},
    )
    assert overrides_for(model, "cpu") == {"text_config": {"a": 1, "b": 2, "deep": {"x": 1, "y": 2}}}


def test_a_table_and_a_value_replace_each_other() -> None:
    assert overrides_for(with_shrinks({"overrides": {"a": {"x": 1}}}, {"overrides": {"a": 2}}), "cpu") == {"a": 2}
    assert overrides_for(with_shrinks({"overrides": {"a": 2}}, {"overrides": {"a": {"x": 1}}}), "cpu") == {
        "a": {"x": 1}
    }


def test_overrides_apply_only_to_their_devices() -> None:
    model = with_shrinks({"overrides": {"a": 1}}, {"devices": ["cpu"], "overrides": {"a": 2}})
    assert overrides_for(model, "cpu") == {"a": 2}
    assert overrides_for(model, "cuda") == {"a": 1}


def test_merging_does_not_change_the_entry() -> None:
    model = with_shrinks({"overrides": {"t": {"a": 1}}}, {"overrides": {"t": {"b": 2}}})
    overrides_for(model, "cpu")["t"]["a"] = 99
    assert [shrink.overrides for shrink in model.entry.shrink] == [{"t": {"a": 1}}, {"t": {"b": 2}}]


def with_drafter(config: dict[str, Any], **drafter: Any) -> CatalogModel:
    entry = model_entry(drafter={"config": "drafter.json", "source": "here", **drafter})
    return dataclasses.replace(catalog_model(entry), drafter=config)


def test_a_drafter_is_shrunk_in_its_config_because_engines_override_only_the_main_model() -> None:
    config = {"hidden_size": 4096, "rope": {"a": 1, "b": 2}, "bias": True}
    shrinks = [
        {"reason": "r", "overrides": {"hidden_size": 256, "rope": {"b": 3}}},
        {"reason": "r", "devices": ["cuda"], "overrides": {"hidden_size": 512}},
    ]
    model = with_drafter(config, shrink=shrinks, deviation=[{"reason": "r", "devices": ["cpu"], "remove": ["bias"]}])
    assert drafter_for(model, "cpu") == {"hidden_size": 256, "rope": {"a": 1, "b": 3}}
    assert drafter_for(model, "cuda") == {"hidden_size": 512, "rope": {"a": 1, "b": 3}, "bias": True}
    assert config == {"hidden_size": 4096, "rope": {"a": 1, "b": 2}, "bias": True}


def test_a_deviation_of_a_drafter_that_does_not_fit_names_its_table() -> None:
    with pytest.raises(CatalogError, match=r"has no key 'absent'") as raised:
        drafter_for(with_drafter({}, deviation=[{"reason": "r", "remove": ["absent"]}]), "cpu")
    assert raised.value.key == "drafter.deviation.0.remove"


def test_a_model_without_a_drafter_has_none() -> None:
    assert drafter_for(catalog_model(), "cpu") is None


def test_a_shrink_can_edit_the_config_after_the_deviations() -> None:
    entry = model_entry(
        deviation=[{"reason": "r", "use": "text_config"}],
        shrink=[
            {"reason": "r", "overrides": {"layers": 8, "moe": {"experts": 8}}, "edits_config": True},
            {"reason": "r", "overrides": {"layers": 4}, "edits_config": True, "devices": ["cuda"]},
            {"reason": "r", "overrides": {"width": 256}},
        ],
    )
    model = catalog_model(entry, {"text_config": {"layers": 32, "width": 4096, "moe": {"experts": 128, "top": 2}}})
    assert config_for(model, "cpu") == {"layers": 8, "width": 4096, "moe": {"experts": 8, "top": 2}}
    assert config_for(model, "cuda")["layers"] == 4
    assert overrides_for(model, "cpu") == {"width": 256}
