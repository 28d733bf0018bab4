from __future__ import annotations

import pytest
from pydantic import ValidationError

from coldwarm.core.model_entry import Shrink, flatten_counters
from tests.support.records import expectation, known_issue, model_entry


def test_nested_tables_of_counters_become_flat_names() -> None:
    nested = {"vllm": {"num_graphs_seen": 1}, "torch": {"aot_autograd": {"total": 9}}, "vllm.written_flat": 2}
    assert flatten_counters(nested) == {
        "vllm.num_graphs_seen": 1,
        "torch.aot_autograd.total": 9,
        "vllm.written_flat": 2,
    }


def test_flat_and_nested_counters_make_the_same_expectation() -> None:
    assert expectation(cold={"a": {"b": 1}}) == expectation(cold={"a.b": 1})
    assert known_issue(warm={"a": {"b": 1}}) == known_issue(warm={"a.b": 1})


def test_a_negative_count_is_an_error() -> None:
    with pytest.raises(ValidationError, match="greater than or equal to 0"):
        expectation(cold={"vllm": {"num_graphs_seen": -1}})


def test_a_counter_that_is_not_an_integer_is_an_error() -> None:
    with pytest.raises(ValidationError):
        expectation(cold={"vllm": {"num_graphs_seen": "many"}})
    with pytest.raises(ValidationError):
        expectation(cold=3)


@pytest.mark.parametrize("model_id", ["", "Llama", "-llama", "llama 3", "llama/3", "llama\n"])
def test_an_invalid_id_is_an_error(model_id: str) -> None:
    with pytest.raises(ValidationError):
        model_entry(id=model_id)


def test_a_known_issue_must_name_an_invariant() -> None:
    with pytest.raises(ValidationError, match="warm-loads-all"):
        known_issue(breaks="warm-loads-some")


def test_without_devices_an_edit_applies_to_every_device() -> None:
    everywhere = Shrink(reason="r", overrides={"a": 1})
    on_a_gpu = Shrink(reason="r", overrides={"a": 1}, devices=("cuda",))
    assert everywhere.applies_to("cpu") and everywhere.applies_to("cuda")
    assert on_a_gpu.applies_to("cuda") and not on_a_gpu.applies_to("cpu")


def test_unsupported_names_its_device() -> None:
    entry = model_entry(unsupported=[{"reason": "no kernel", "devices": ["cpu"]}])
    found = entry.unsupported_on("cpu", "piecewise")
    assert found is not None and found.reason == "no kernel"
    assert entry.unsupported_on("cpu", "shipped") is not None
    assert entry.unsupported_on("cuda", "piecewise") is None


def test_unsupported_with_only_one_compilation() -> None:
    entry = model_entry(unsupported=[{"reason": "r", "devices": ["cpu", "cuda"], "compilation": "shipped"}])
    assert entry.unsupported_on("cuda", "shipped") is not None
    assert entry.unsupported_on("cuda", "piecewise") is None


def test_an_empty_shrink_is_an_error() -> None:
    with pytest.raises(ValidationError):
        Shrink(reason="r", overrides={})


def test_names_are_unique() -> None:
    with pytest.raises(ValidationError, match="layer_kinds must be unique: dense, dense"):
        model_entry(layer_kinds=["dense", "dense"])
    with pytest.raises(ValidationError, match="known_issue ids must be unique"):
        model_entry(known_issue=[known_issue(), known_issue()])


def test_an_empty_table_is_an_error() -> None:
    with pytest.raises(ValidationError, match="an expectation needs a counter"):
        expectation(cold={}, warm={})
    with pytest.raises(ValidationError, match="a deviation needs use, remove or set"):
        model_entry(deviation=[{"reason": "r"}])
    with pytest.raises(ValidationError, match="at least 1 character"):
        model_entry(source="")


def test_an_id_must_not_collide_with_a_file_of_a_suite() -> None:
    with pytest.raises(ValidationError, match="would collide"):
        model_entry(id="suite.json")
