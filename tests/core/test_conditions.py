from __future__ import annotations

import datetime

import pytest
from pydantic import ValidationError

from coldwarm.core.conditions import Conditions, Platform, RunContext

HERE = RunContext(device="cpu", compilation="piecewise", versions={"torch": "2.13.0", "vllm": "0.32.0"})
NO_VERSIONS = RunContext(device="cpu", compilation="piecewise", versions={})


def holds(**conditions: str) -> bool:
    return Conditions.model_validate(conditions).matches(HERE)


def admits(specifier: str, version: str) -> bool:
    context = RunContext(device="cpu", compilation="piecewise", versions={"torch": version})
    return Conditions(torch=specifier).matches(context)


def problem_with(specifier: str) -> str:
    with pytest.raises(ValidationError) as raised:
        Conditions(torch=specifier)
    [error] = raised.value.errors()
    return str(error["msg"])


def test_empty_conditions_match_everything() -> None:
    assert holds()
    assert Conditions().matches(NO_VERSIONS)
    assert str(Conditions()) == "everywhere"


def test_conditions_as_text_name_their_requirements() -> None:
    conditions = Conditions(device="cpu", compilation="piecewise", torch="~=2.13.0", vllm=">=0.32")
    assert str(conditions) == "cpu, piecewise, torch ~=2.13.0, vllm >=0.32"


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ({"device": "cpu"}, True),
        ({"device": "cuda"}, False),
        ({"compilation": "piecewise"}, True),
        ({"compilation": "shipped"}, False),
        ({"vllm": ">=0.32"}, True),
        ({"vllm": ">=0.33"}, False),
    ],
)
def test_a_single_condition(conditions: dict[str, str], expected: bool) -> None:
    assert holds(**conditions) is expected


def test_every_condition_must_match() -> None:
    good = {"device": "cpu", "compilation": "piecewise", "vllm": "~=0.32.0"}
    assert holds(**good)
    for key, other in (("device", "cuda"), ("compilation", "shipped"), ("vllm", "~=0.31.0")):
        assert not holds(**{**good, key: other})


def test_an_unknown_version_matches_no_specifier() -> None:
    assert not Conditions(torch=">=0").matches(NO_VERSIONS)
    assert not admits(">=0", "not a version")


@pytest.mark.parametrize("specifier", ["==2.13.0", "==2.13.*", "~=2.13.0", ">=2.13,<2.14", "<=2.13.0", "==2.13.0+cpu"])
def test_a_local_version_matches_like_its_public_version(specifier: str) -> None:
    assert admits(specifier, "2.13.0+cpu")


@pytest.mark.parametrize("specifier", ["!=2.13.0", ">2.13.0", "<2.13", "==2.13.0+cu130", "~=2.12.0"])
def test_a_local_version_does_not_match_other_versions(specifier: str) -> None:
    assert not admits(specifier, "2.13.0+cpu")


@pytest.mark.parametrize("version", ["2.14.0.dev20261101", "2.14.0.dev20261101+cu130"])
@pytest.mark.parametrize("specifier", [">=2.13", ">2.13.0", ">=2.14.dev0", "!=2.13.0", "==2.14.*"])
def test_a_development_version_matches_like_others(specifier: str, version: str) -> None:
    assert admits(specifier, version)


@pytest.mark.parametrize("specifier", [">=2.14", "~=2.13.0", "<2.14", ">=2.13,<2.14"])
def test_a_development_version_is_lower_than_its_release(specifier: str) -> None:
    assert not admits(specifier, "2.14.0.dev20261101")


@pytest.mark.parametrize("specifier", ["2.13?", "2.13", ">=2.13 <2.14 or so", "=>2.13", "~=2", ">=x.y"])
def test_an_invalid_specifier_is_an_error_with_an_example(specifier: str) -> None:
    message = problem_with(specifier)
    assert f"{specifier!r} is not a version specifier" in message
    assert "'>=2.13,<2.14'" in message


@pytest.mark.parametrize(
    "specifier",
    [
        ">=3,<2",
        "==2.13.*,<2",
        "==2.13.0,==2.13.1",
        "==2.13.0,!=2.13.0",
        ">2.13,<2.13",
        "~=2.13.0,>=2.14",
        "<0",
        "==2.13.0+cpu,<2",
    ],
)
def test_an_unsatisfiable_specifier_is_an_error(specifier: str) -> None:
    assert problem_with(specifier).endswith(f"{specifier!r} is a version specifier that no version satisfies")


# Each with a version that satisfies it, to check this list.
POSSIBLE = {
    ">=2.13,<2.14": "2.13.1",
    "~=0.32.0": "0.32.4",
    "!=2.13.0": "2.14",
    "==2.13.*": "2.13.7",
    ">=2.12.dev0": "2.12.dev1",
    "==2.13.0+cpu": "2.13.0+cpu",
    ">2.13": "2.14",
    "<2.13,>2.12": "2.12.1",
    ">=2.13,<=2.13": "2.13",
    "!=2.13.*": "2.14",
    ">=1!2": "1!2",
    "===2.13.0": "2.13.0",
}
# Satisfiable: versions between the named ones remain.
POSSIBLE_BETWEEN = {
    ">=2.13,!=2.13.*,<2.15": "2.14",
    ">2.13,!=2.13.1.*,<2.14": "2.13.2",
    "<2.13,!=0.*": "1.0",
    ">2.13.0rc1,<2.13.0rc3": "2.13.0rc2",
    "===2.13.0,>=2": "2.13.0",
}


# Satisfiable by versions that sort beyond a bound (local versions, prereleases of a wildcard).
POSSIBLE_BEYOND = {
    "==2.13.0+cpu,<=2.13.0": "2.13.0+cpu",
    "==2.13.0+cpu,==2.13.0": "2.13.0+cpu",
    "==2.13.*,<=2.13.0rc1": "2.13.0rc1",
    "===2.13,==2.13.0": "2.13",
}


@pytest.mark.parametrize(("specifier", "version"), POSSIBLE_BEYOND.items())
def test_a_specifier_that_is_satisfied_by_a_version_beyond_its_bound_is_accepted(specifier: str, version: str) -> None:
    assert admits(specifier, version)


@pytest.mark.parametrize(("specifier", "version"), [*POSSIBLE.items(), *POSSIBLE_BETWEEN.items()])
def test_a_satisfiable_specifier_is_accepted(specifier: str, version: str) -> None:
    assert admits(specifier, version)


def test_a_misspelt_device_is_an_error() -> None:
    with pytest.raises(ValidationError, match="'cpu' or 'cuda'"):
        Conditions.model_validate({"device": "gpu"})


@pytest.mark.parametrize(
    ("wanted", "is_kept", "holds"),
    [
        (None, None, True),
        (None, "bundled", True),
        ("bundled", "bundled", True),
        ("bundled", "separate", False),
        ("separate", None, False),
    ],
)
def test_the_kind_of_aot_artifact_is_a_condition(wanted: str | None, is_kept: str | None, holds: bool) -> None:
    conditions = Conditions.model_validate({"aot_artifact": wanted})
    assert conditions.matches(HERE.model_copy(update={"aot_artifact": is_kept})) is holds
    assert ("AOT artifact" in str(conditions)) is (wanted is not None)


WITH_SETTINGS = HERE.model_copy(
    update={"options": {"hf_overrides.num_hidden_layers": "4"}, "environment": {"VLLM_USE_LAYERNAME": "0"}}
)
MEASURED_WITH = {"options": {"hf_overrides": {"num_hidden_layers": 4}}, "environment": {"VLLM_USE_LAYERNAME": "0"}}


def test_settings_must_be_exactly_the_measured_ones() -> None:
    assert not Conditions().matches(WITH_SETTINGS)
    assert Conditions().matches_platform(WITH_SETTINGS)
    assert Conditions.model_validate(MEASURED_WITH).matches(WITH_SETTINGS)
    assert not Conditions.model_validate(MEASURED_WITH).matches(HERE)
    for key in MEASURED_WITH:
        assert not Conditions.model_validate({**MEASURED_WITH, key: {}}).matches(WITH_SETTINGS)


def test_other_settings_are_named_with_their_values() -> None:
    assert Conditions().other_settings(WITH_SETTINGS) == [
        "without hf_overrides.num_hidden_layers=4",
        "without VLLM_USE_LAYERNAME=0",
    ]
    assert Conditions.model_validate(MEASURED_WITH).other_settings(HERE) == [
        "with hf_overrides.num_hidden_layers=4",
        "with VLLM_USE_LAYERNAME=0",
    ]


def test_flat_and_nested_options_are_the_same_condition_also_when_stored() -> None:
    nested = Conditions.model_validate({"options": {"a": {"b": [1], "c": "4"}}})
    assert nested == Conditions.model_validate({"options": {"a.b": [1], "a.c": "4"}})
    assert Conditions.model_validate_json(nested.model_dump_json()) == nested
    assert str(nested) == 'everywhere, a.b=[1], a.c="4"'


def test_an_option_that_no_command_can_set_is_an_error() -> None:
    with pytest.raises(ValidationError, match="representable in JSON"):
        Conditions.model_validate({"options": {"a": datetime.date(2026, 1, 1)}})


def test_a_platform_matches_any_settings() -> None:
    assert Platform(device="cpu").matches(WITH_SETTINGS)
    assert not Platform(device="cuda").matches(WITH_SETTINGS)
    with pytest.raises(ValidationError, match="options"):
        Platform.model_validate({"options": {"a": 1}})
