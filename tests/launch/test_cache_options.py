from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from coldwarm.core.options import parse_options
from coldwarm.launch.cache_options import folders_named, isolated_options

CACHES = Path("/caches")


def of_words(*words: str) -> dict[str, Any]:
    return parse_options(words, flag="--set")


@pytest.mark.parametrize(
    "options",
    [
        of_words("compilation_config.cache_dir=/users/warm"),
        of_words('compilation_config={"cache_dir": "/users/warm"}'),
        {"compilation_config": {"cache_dir": "/users/warm"}},
        {"compilation_config.cache_dir": "/users/warm"},
    ],
)
def test_a_cache_folder_is_replaced_in_every_notation(options: dict[str, Any]) -> None:
    isolated, replaced = isolated_options(options, CACHES)
    assert replaced == ["compilation_config.cache_dir"]
    assert "/users/warm" not in str(isolated)
    assert "/caches/options/warm-" in str(isolated)
    assert list(folders_named(options)) == [Path("/users/warm")]


def test_a_folder_of_a_user_who_does_not_exist_is_replaced_like_others(tmp_path: Path) -> None:
    options, replaced = isolated_options({"download_dir": "~nosuchuser/models"}, tmp_path)
    assert replaced == ["download_dir"]
    assert Path(options["download_dir"]).is_relative_to(tmp_path)


def test_other_options_are_unchanged_and_the_given_options_are_not_modified() -> None:
    options = {
        "dtype": "bfloat16",
        "compilation_config": {"cache_dir": "", "compile_sizes": [1]},
        "additional_config": {"kv_cache_dtype": "fp8", "enable_prefix_caching": True, "cache_dir": None},
    }
    assert isolated_options(options, CACHES) == (options, [])
    given = {"compilation_config": {"cache_dir": "/users/warm"}}
    isolated_options(given, CACHES)
    assert given == {"compilation_config": {"cache_dir": "/users/warm"}}


def test_equal_folders_have_the_same_replacement_and_different_ones_do_not() -> None:
    def own(folder: str) -> str:
        return str(isolated_options({"download_dir": folder}, CACHES)[0]["download_dir"])

    assert own("/users/a/cache") == own("/users/b/../a/cache/")
    assert own("/users/a/cache") != own("/users/b/cache")
    assert Path(own("/users/a/cache")).is_relative_to(CACHES)


@pytest.mark.parametrize(
    "name",
    ["fx_graph_remote_cache", "autotune_remote_cache", "bundled_autotune_remote_cache", "remote_gemm_autotune_cache"],
)
def test_remote_caches_get_their_default(name: str) -> None:
    options = {"compilation_config": {"inductor_compile_config": {name: True, "max_autotune": True}}}
    isolated, replaced = isolated_options(options, CACHES)
    assert isolated == {"compilation_config": {"inductor_compile_config": {"max_autotune": True}}}
    assert replaced == [f"compilation_config.inductor_compile_config.{name}"]


def test_a_remote_cache_that_is_off_stays_off() -> None:
    options = {"compilation_config": {"inductor_compile_config": {"fx_graph_remote_cache": False}}}
    assert isolated_options(options, CACHES) == (options, [])
