from __future__ import annotations

import shlex
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from coldwarm.catalog.preparing import prepare
from coldwarm.core.case import Case, Changes
from coldwarm.core.options import parse_options, parse_variables
from coldwarm.launch.environment import recorded
from tests.support.records import catalog_model, model_entry, tiny_config
from tests.support.runs import case_of


def of(device: str, compilation: str = "piecewise", **entry: object) -> Case:
    model = catalog_model(model_entry(**entry), tiny_config(quantization_config={}))
    return prepare(model, "tiny", engine="vllm", device=device, compilation=compilation)


def test_a_case_deviates_and_shrinks_for_its_device() -> None:
    deviation = [{"reason": "r", "devices": ["cpu"], "remove": ["quantization_config"]}]
    shrink = [{"reason": "r", "devices": ["cpu"], "overrides": {"hidden_size": 8}}]
    cpu, cuda = (of(device, deviation=deviation, shrink=shrink) for device in ("cpu", "cuda"))
    assert "quantization_config" not in cpu.config
    assert cpu.overrides == {"hidden_size": 8}
    assert "quantization_config" in cuda.config
    assert cuda.overrides == {}


def test_an_unsupported_case_needs_no_valid_deviations() -> None:
    case = of(
        "cpu",
        unsupported=[{"reason": "r", "devices": ["cpu"]}],
        deviation=[{"reason": "r", "remove": ["no such key"]}],
    )
    assert case.config == tiny_config(quantization_config={})
    assert case.overrides == {}


def test_reproduce_names_model_device_and_the_users_variables() -> None:
    command = case_of().reproduce({"CFLAGS": "-O2 -g", "VLLM_USE_AOT_COMPILE": "0"})
    assert command == "CFLAGS='-O2 -g' VLLM_USE_AOT_COMPILE=0 coldwarm run tiny --device cpu"


@pytest.mark.parametrize(("compilation", "is_named"), [("piecewise", False), ("shipped", True)])
def test_reproduce_names_the_compilation_unless_it_is_the_default(compilation: str, is_named: bool) -> None:
    assert ("--compilation shipped" in case_of(compilation=compilation).reproduce({})) is is_named


def test_reproduce_quotes_a_path() -> None:
    path = "it's here/config.json"
    assert shlex.split(case_of(argument=path).reproduce({}))[2] == path


def test_reproduce_sets_the_given_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_MINE", "1")
    assert "VLLM_MINE=1 " in case_of().reproduce(recorded())
    assert "VLLM_MINE" not in case_of().reproduce({})


def test_reproduce_never_sets_a_variable_to_a_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_API_KEY", "hunter2")
    command = case_of().reproduce(recorded())
    assert "hunter2" not in command
    assert "not recorded" not in command


def test_reproduce_omits_secrets_that_an_older_version_recorded() -> None:
    command = case_of(options={"hf_token": "hunter2"}).reproduce({"VLLM_HOST_PASSWD": "hunter2", "VLLM_X": "1"})
    assert command == "VLLM_X=1 coldwarm run tiny --device cpu"


def test_a_case_with_a_kind_of_aot_artifact_has_it_in_its_name() -> None:
    case = of("cpu")
    assert case.name == case.model_id
    bundled = case.model_copy(update={"aot_artifact": "bundled"})
    assert bundled.name == f"{case.model_id}+bundled"
    assert bundled.reproduce({}) == f"{case.reproduce({})} --aot-artifact bundled"


def words_after(flag: str, command: str) -> list[str]:
    """Return the arguments that follow `flag` in a shell command."""
    words = shlex.split(command)
    return [after for word, after in pairwise(words) if word == flag]


def test_by_default_a_case_has_no_options_and_no_changes() -> None:
    assert (of("cpu").options, of("cpu").warm_changes) == ({}, Changes())
    assert not {"--set", "--warm-set", "--warm-env"} & set(shlex.split(of("cpu").reproduce({})))


def test_reproduce_sets_options_and_changes_of_the_warm_start() -> None:
    case = case_of(
        compilation="shipped",
        options={"dtype": "bfloat16", "compilation_config": {"compile_sizes": [1, 2], "mode": 3}},
        warm_changes=Changes(environment={"VLLM_X": "a b"}, options={"additional_config": {"seed": 1}}),
    )
    assert case.reproduce({"VLLM_Y": "1"}) == (
        "VLLM_Y=1 coldwarm run tiny --device cpu --compilation shipped"
        " --set 'dtype=\"bfloat16\"'"
        " --set 'compilation_config.compile_sizes=[1, 2]' --set compilation_config.mode=3"
        " --warm-set additional_config.seed=1"
        " --warm-env 'VLLM_X=a b'"
    )


@pytest.mark.parametrize(
    "options",
    [{"a": "it's $HOME `ls` \"\\"}, {"a": {"b": {}, "c": None}, "d": ["x y", {"e": False}]}, {"größe": "ß\n"}],
)
def test_the_reproduce_command_is_parsed_to_the_same_case(options: dict[str, Any]) -> None:
    variables = {"VLLM_X": "it's $HOME\n", "B": ""}
    command = case_of(options=options, warm_changes=Changes(environment=variables, options=options)).reproduce({})
    assert parse_options(words_after("--set", command), flag="--set") == options
    assert parse_options(words_after("--warm-set", command), flag="--warm-set") == options
    assert parse_variables(words_after("--warm-env", command), flag="--warm-env") == variables


def test_a_case_with_options_and_changes_is_the_same_after_json() -> None:
    case = case_of(options={"a": {"b": [1]}}, warm_changes=Changes(environment={"X": "1"}, options={"c": None}))
    assert Case.model_validate_json(case.model_dump_json()) == case


def test_a_case_that_was_stored_without_options_has_no_options() -> None:
    stored = case_of().model_dump(exclude={"options", "warm_changes"})
    assert Case.model_validate(stored) == case_of()


def test_a_case_is_the_same_after_json(tmp_path: Path) -> None:
    case = of("cpu", shrink=[{"reason": "r", "overrides": {"text_config": {"hidden_size": 8}}}])
    assert Case.model_validate_json(case.model_dump_json()) == case


def test_a_secret_of_the_warm_start_is_neither_stored_nor_printed() -> None:
    changes = Changes(environment={"VLLM_API_KEY": "hunter2", "VLLM_MLA_DISABLE": "1"})
    case = prepare(catalog_model(), "tiny", engine="fake", device="cpu", compilation="piecewise").model_copy(
        update={"warm_changes": changes}
    )
    assert "hunter2" not in case.model_dump_json()
    assert "hunter2" not in case.reproduce({})
    assert "--warm-env VLLM_MLA_DISABLE=1" in case.reproduce({})
    assert case.warm_changes.environment["VLLM_API_KEY"] == "hunter2", "the start itself needs it"
