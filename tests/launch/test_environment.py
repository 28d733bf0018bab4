from __future__ import annotations

import os
import site
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coldwarm.launch.caches import CACHE_VARIABLES, Caches
from coldwarm.launch.environment import environment_of_command, environment_of_start, overridden, recorded

CACHES = Caches(Path("/caches"))
names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,30}", fullmatch=True)


def of_start(
    user: dict[str, str], *, defaults: dict[str, str] | None = None, compilation: str = "piecewise"
) -> dict[str, str]:
    return environment_of_start(
        CACHES,
        Path("/trace"),
        Path("/request"),
        compilation=compilation,
        token="t",
        engine_defaults=defaults or {},
        user=user,
    )


def test_the_users_flags_reach_the_start() -> None:
    environment = of_start({"VLLM_USE_AOT_COMPILE": "0", "CUDA_VISIBLE_DEVICES": "1", "PATH": "/bin"})
    assert environment["VLLM_USE_AOT_COMPILE"] == "0"
    assert environment["CUDA_VISIBLE_DEVICES"] == "1"
    assert environment["PATH"] == "/bin"


def test_the_name_of_the_current_test_does_not_reach_the_start() -> None:
    assert of_start({"PYTEST_CURRENT_TEST": "test_a (call)", "PATH": "/bin"}) == of_start({"PATH": "/bin"})


def test_the_users_caches_are_replaced() -> None:
    environment = of_start(dict.fromkeys(CACHE_VARIABLES, "/users/warm"))
    assert {environment[name] for name in CACHE_VARIABLES} == set(CACHES.environment().values())


def test_the_users_values_take_precedence_over_engine_defaults() -> None:
    environment = of_start({"HF_HUB_OFFLINE": "0"}, defaults={"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"})
    assert environment["HF_HUB_OFFLINE"] == "0"
    assert environment["VLLM_NO_USAGE_STATS"] == "1"


def test_an_engine_default_never_moves_a_cache() -> None:
    assert of_start({}, defaults={"HOME": "/elsewhere"})["HOME"] == CACHES.environment()["HOME"]


@pytest.mark.parametrize("compilation", ["piecewise", "shipped"])
def test_a_start_gets_its_trace_compilation_and_token(compilation: str) -> None:
    environment = of_start(
        {"TORCH_TRACE": "/mine", "COLDWARM_COMPILATION": "x", "COLDWARM_START": "y"}, compilation=compilation
    )
    assert environment["TORCH_TRACE"] == "/trace"
    assert environment["COLDWARM_COMPILATION"] == compilation
    assert environment["COLDWARM_START"] == "t"


def test_coldwarms_plugin_is_added_to_the_users_list() -> None:
    assert of_start({"VLLM_PLUGINS": "mine,other"})["VLLM_PLUGINS"].split(",") == ["mine", "other", "coldwarm"]


def test_without_a_list_of_plugins_none_is_set() -> None:
    assert "VLLM_PLUGINS" not in of_start({})


def test_an_empty_list_of_plugins_does_not_exclude_coldwarms() -> None:
    # vllm/envs.py: an empty VLLM_PLUGINS is the list [""], which names no plugin.
    assert "coldwarm" in of_start({"VLLM_PLUGINS": ""})["VLLM_PLUGINS"].split(",")


def test_packages_in_the_users_home_folder_are_still_found() -> None:
    assert of_start({})["PYTHONUSERBASE"] == site.getuserbase()
    assert of_start({"PYTHONUSERBASE": "/mine"})["PYTHONUSERBASE"] == "/mine"


@settings(max_examples=40)
@given(st.dictionaries(names, st.text(max_size=10), max_size=6))
def test_any_environment_of_the_user_is_isolated_and_not_modified(user: dict[str, str]) -> None:
    before = dict(user)
    environment = of_start(user)
    assert user == before
    assert CACHES.environment().items() <= environment.items()
    assert environment["COLDWARM_START"] == "t"


def test_variables_that_change_compilation_are_recorded_in_order() -> None:
    user = {
        "VLLM_USE_AOT_COMPILE": "0",
        "TORCH_LOGS": "x",
        "CXX": "clang",
        "OMP_NUM_THREADS": "2",
        "PATH": "/bin",
        "CXXFILT": "x",
        "MY_VLLM_FLAG": "1",
        "LANG": "C",
    }
    assert list(recorded(user)) == ["CXX", "OMP_NUM_THREADS", "TORCH_LOGS", "VLLM_USE_AOT_COMPILE"]


@pytest.mark.parametrize(
    "name", ["VLLM_API_KEY", "TORCH_HUB_TOKEN", "VLLM_S3_SECRET", "TORCH_PASSWORD", "VLLM_HOST_PASSWD"]
)
def test_secrets_are_masked(name: str) -> None:
    assert "hunter2" not in str(recorded({name: "hunter2"}))
    assert name in recorded({name: "hunter2"})


def test_a_number_of_tokens_is_not_a_secret() -> None:
    assert recorded({"VLLM_MAX_TOKENS_PER_EXPERT_FP4_MOE": "512"}) == {"VLLM_MAX_TOKENS_PER_EXPERT_FP4_MOE": "512"}


def test_variables_that_coldwarm_sets_are_not_recorded_as_the_users() -> None:
    user = dict.fromkeys([*CACHE_VARIABLES, "TORCH_TRACE", "COLDWARM_COMPILATION", "COLDWARM_START"], "x")
    assert recorded(user) == {}


def test_overridden_lists_the_variables_that_the_start_does_not_see() -> None:
    user = {"VLLM_CACHE_ROOT": "/mine", "TORCH_TRACE": "/t", "HOME": "/h", "TMPDIR": "/t", "VLLM_USE_V1": "1"}
    assert overridden(user) == ["TORCH_TRACE", "VLLM_CACHE_ROOT"]


def test_nothing_is_overridden_in_an_empty_environment() -> None:
    assert overridden({}) == []


class TestCommand:
    def of_command(self, user: dict[str, str]) -> dict[str, str]:
        return environment_of_command(
            CACHES, Path("/trace"), Path("/observation"), compilation="shipped", token="t", user=user
        )

    def test_has_caches_of_its_own_and_the_users_downloads(self) -> None:
        environment = self.of_command({"HOME": "/h", "VLLM_CACHE_ROOT": "/mine", "HF_HUB_CACHE": "/hub"})
        assert environment["VLLM_CACHE_ROOT"] != "/mine"
        assert environment["HOME"] != "/h"
        assert (environment["HF_HOME"], environment["HF_HUB_CACHE"]) == ("/h/.cache/huggingface", "/hub")
        assert self.of_command({"HOME": "/h", "HF_HOME": "/hf"})["HF_HOME"] == "/hf"

    def test_is_observed_in_every_python_process(self) -> None:
        environment = self.of_command({"PYTHONPATH": "/mine"})
        first, second = environment["PYTHONPATH"].split(os.pathsep)
        assert (Path(first) / "sitecustomize.py").is_file()
        assert second == "/mine"
        assert (environment["COLDWARM_OBSERVATION"], environment["COLDWARM_START"]) == ("/observation", "t")
        assert "COLDWARM_REQUEST" not in environment
