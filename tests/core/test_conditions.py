from __future__ import annotations

import datetime

import pytest
from pydantic import ValidationError

from coldwarm.core.conditions import Conditions, Platform, RunContext

HERE = RunContext(device="cpu", compilation="piecewise", versions={"torch": "2.13.0", "vllm": "0.32.0"})
NO_VERSIONS = RunContext(device="cpu", compilation="piecewise", versions={})


def holds(**conditions: str) -> bool:
    return Conditions.model_validate(conditions).hold(HERE)


def admits(specifier: str, version: str) -> bool:
    context = RunContext(device="cpu", compilation="piecewise", versions={"torch": version})
    return Conditions(torch=specifier).hold(context)


def problem_with(specifier: str) -> str:
    with pytest.raises(ValidationError) as raised:
        Conditions(torch=specifier)
    [error] = raised.value.errors()
    return str(error["msg"])


def test_no_conditions_hold_everywhere() -> None:
    assert holds()
    assert Conditions().hold(NO_VERSIONS)
    assert str(Conditions()) == "everywhere"


def test_conditions_name_what_they_ask_for() -> None:
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
def test_one_condition_alone(conditions: dict[str, str], expected: bool) -> None:
    assert holds(**conditions) is expected


def test_every_condition_must_hold() -> None:
    good = {"device": "cpu", "compilation": "piecewise", "vllm": "~=0.32.0"}
    assert holds(**good)
    for key, other in (("device", "cuda"), ("compilation", "shipped"), ("vllm", "~=0.31.0")):
        assert not holds(**{**good, key: other})


def test_a_version_that_is_not_known_meets_no_specifier() -> None:
    assert not Conditions(torch=">=0").hold(NO_VERSIONS)
    assert not admits(">=0", "not a version")


@pytest.mark.parametrize("specifier", ["==2.13.0", "==2.13.*", "~=2.13.0", ">=2.13,<2.14", "<=2.13.0", "==2.13.0+cpu"])
def test_a_local_version_is_the_version_that_it_is_built_from(specifier: str) -> None:
    assert admits(specifier, "2.13.0+cpu")


@pytest.mark.parametrize("specifier", ["!=2.13.0", ">2.13.0", "<2.13", "==2.13.0+cu130", "~=2.12.0"])
def test_a_local_version_is_no_other_version(specifier: str) -> None:
    assert not admits(specifier, "2.13.0+cpu")


@pytest.mark.parametrize("version", ["2.14.0.dev20261101", "2.14.0.dev20261101+cu130"])
@pytest.mark.parametrize("specifier", [">=2.13", ">2.13.0", ">=2.14.dev0", "!=2.13.0", "==2.14.*"])
def test_a_development_version_counts_as_a_version(specifier: str, version: str) -> None:
    assert admits(specifier, version)


@pytest.mark.parametrize("specifier", [">=2.14", "~=2.13.0", "<2.14", ">=2.13,<2.14"])
def test_a_development_version_comes_before_its_release(specifier: str) -> None:
    assert not admits(specifier, "2.14.0.dev20261101")


@pytest.mark.parametrize("specifier", ["2.13?", "2.13", ">=2.13 <2.14 or so", "=>2.13", "~=2", ">=x.y"])
def test_what_is_no_specifier_is_refused_with_an_example(specifier: str) -> None:
    message = problem_with(specifier)
    assert f"{specifier!r} is no version specifier" in message
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
def test_a_specifier_that_no_version_meets_is_refused(specifier: str) -> None:
    assert problem_with(specifier).endswith(f"{specifier!r} is a version specifier that no version can satisfy")


# With a version that meets each, so that this list cannot be wrong unnoticed.
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
# Possible too: what is left over lies between the versions that are named, not beside one.
POSSIBLE_BETWEEN = {
    ">=2.13,!=2.13.*,<2.15": "2.14",
    ">2.13,!=2.13.1.*,<2.14": "2.13.2",
    "<2.13,!=0.*": "1.0",
    ">2.13.0rc1,<2.13.0rc3": "2.13.0rc2",
    "===2.13.0,>=2": "2.13.0",
}


# Possible too, yet refused: a bound admits versions that sort beyond it (local ones, prereleases of a wildcard).
POSSIBLE_BEYOND = {
    "==2.13.0+cpu,<=2.13.0": "2.13.0+cpu",
    "==2.13.0+cpu,==2.13.0": "2.13.0+cpu",
    "==2.13.*,<=2.13.0rc1": "2.13.0rc1",
    "===2.13,==2.13.0": "2.13",
}


@pytest.mark.parametrize(("specifier", "version"), POSSIBLE_BEYOND.items())
def test_a_specifier_that_some_version_beyond_its_bound_meets_is_accepted(specifier: str, version: str) -> None:
    assert admits(specifier, version)


@pytest.mark.parametrize(("specifier", "version"), [*POSSIBLE.items(), *POSSIBLE_BETWEEN.items()])
def test_a_specifier_that_some_version_meets_is_accepted(specifier: str, version: str) -> None:
    assert admits(specifier, version)


def test_a_misspelt_device_is_refused() -> None:
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
def test_how_compiled_subgraphs_are_kept_is_a_condition(wanted: str | None, is_kept: str | None, holds: bool) -> None:
    conditions = Conditions.model_validate({"aot_artifact": wanted})
    assert conditions.hold(HERE.model_copy(update={"aot_artifact": is_kept})) is holds
    assert ("AOT artifact" in str(conditions)) is (wanted is not None)


WITH_SETTINGS = HERE.model_copy(
    update={"options": {"hf_overrides.num_hidden_layers": "4"}, "environment": {"VLLM_USE_LAYERNAME": "0"}}
)
MEASURED_WITH = {"options": {"hf_overrides": {"num_hidden_layers": 4}}, "environment": {"VLLM_USE_LAYERNAME": "0"}}


def test_settings_must_be_exactly_those_it_was_measured_with() -> None:
    assert not Conditions().hold(WITH_SETTINGS)
    assert Conditions().hold_on_platform(WITH_SETTINGS)
    assert Conditions.model_validate(MEASURED_WITH).hold(WITH_SETTINGS)
    assert not Conditions.model_validate(MEASURED_WITH).hold(HERE)
    for key in MEASURED_WITH:
        assert not Conditions.model_validate({**MEASURED_WITH, key: {}}).hold(WITH_SETTINGS)


def test_other_settings_are_named_with_their_values() -> None:
    assert Conditions().other_settings(WITH_SETTINGS) == [
        "without hf_overrides.num_hidden_layers=4",
        "without VLLM_USE_LAYERNAME=0",
    ]
    assert Conditions.model_validate(MEASURED_WITH).other_settings(HERE) == [
        "with hf_overrides.num_hidden_layers=4",
        "with VLLM_USE_LAYERNAME=0",
    ]


def test_flat_and_nested_options_are_the_same_condition_and_are_read_back_as_written() -> None:
    nested = Conditions.model_validate({"options": {"a": {"b": [1], "c": "4"}}})
    assert nested == Conditions.model_validate({"options": {"a.b": [1], "a.c": "4"}})
    assert Conditions.model_validate_json(nested.model_dump_json()) == nested
    assert str(nested) == 'everywhere, a.b=[1], a.c="4"'


def test_an_option_that_no_command_can_set_is_refused() -> None:
    with pytest.raises(ValidationError, match="one that JSON has"):
        Conditions.model_validate({"options": {"a": datetime.date(2026, 1, 1)}})


def test_a_platform_holds_whatever_the_settings_are() -> None:
    assert Platform(device="cpu").hold(WITH_SETTINGS)
    assert not Platform(device="cuda").hold(WITH_SETTINGS)
    with pytest.raises(ValidationError, match="options"):
        Platform.model_validate({"options": {"a": 1}})
