from __future__ import annotations

from pathlib import Path

import pytest

import coldwarm
from coldwarm.launch.cache_variables import ALWAYS, ISOLATED, REMOTE, places, replaced_where_set, unknown
from coldwarm.launch.caches import Caches
from coldwarm.launch.environment import environment_of_start, overridden

WHERE_SET = sorted(ISOLATED - ALWAYS.keys() - REMOTE)


def of_start(caches: Caches, user: dict[str, str]) -> dict[str, str]:
    return environment_of_start(
        caches, Path("/trace"), Path("/request"), compilation="piecewise", token="t", engine_defaults={}, user=user
    )


@pytest.fixture
def caches(tmp_path: Path) -> Caches:
    return Caches(tmp_path / "caches")


@pytest.mark.parametrize(
    "variable",
    [
        *("VLLM_FLASHINFER_AUTOTUNE_CACHE_DIR", "VLLM_ASSETS_CACHE", "TILELANG_CACHE_DIR", "TILELANG_TMP_DIR"),
        *("CUTE_DSL_CACHE_DIR", "FLASH_ATTENTION_CUTE_DSL_CACHE_DIR", "QUACK_CACHE_DIR", "DG_CACHE_DIR"),
        *("TRTLLM_DG_CACHE_DIR", "EP_JIT_CACHE_DIR", "HELION_CACHE_DIR", "NUMBA_CACHE_DIR", "OUTLINES_CACHE_DIR"),
        *("TORCH_HOME", "PYTORCH_KERNEL_CACHE_PATH", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_MODULES_CACHE"),
        *("TRANSFORMERS_CACHE", "CCACHE_DIR", "SCCACHE_DIR", "CUPY_CACHE_DIR"),
    ],
)
def test_a_cache_folder_of_the_user_is_replaced_and_recorded(caches: Caches, variable: str) -> None:
    user = {variable: "/users/warm"}
    value = Path(of_start(caches, user)[variable])
    assert value.parent == caches.root
    assert overridden(user) == [variable]


def test_every_replaced_variable_names_a_separate_folder(caches: Caches) -> None:
    environment = of_start(caches, dict.fromkeys(ISOLATED, "/users/warm"))
    assert environment.keys() >= ISOLATED - REMOTE
    paths = [environment[name] for name in ISOLATED - REMOTE]
    assert len(set(paths)) == len(paths)
    assert all(Path(path).is_relative_to(caches.root) for path in paths)


@pytest.mark.parametrize("variable", WHERE_SET)
@pytest.mark.parametrize("user", [{}, None])
def test_variables_that_the_user_has_not_set_stay_unset(
    caches: Caches, variable: str, user: dict[str, str] | None
) -> None:
    user = {variable: ""} if user is None else user
    assert of_start(caches, user).get(variable, "") == ""


def test_a_file_has_the_same_name_in_a_folder_of_the_start(caches: Caches) -> None:
    environment = of_start(caches, {"PYTORCH_TUNABLEOP_FILENAME": "/users/tuned%d.csv"})
    assert environment["PYTORCH_TUNABLEOP_FILENAME"] == str(caches.root / "tunable-op" / "tuned%d.csv")


@pytest.mark.parametrize(
    "variable",
    [
        *("TORCHINDUCTOR_FX_GRAPH_REMOTE_CACHE", "TORCHINDUCTOR_AUTOGRAD_REMOTE_CACHE", "TORCHINDUCTOR_REDIS_URL"),
        *("TORCHINDUCTOR_AUTOTUNE_REMOTE_CACHE", "TORCHINDUCTOR_BUNDLED_AUTOTUNE_REMOTE_CACHE"),
        *("TRITON_CACHE_MANAGER", "TRITON_REMOTE_CACHE_BACKEND", "TORCH_COMPILE_STICKY_PGO_READ", "SCCACHE_BUCKET"),
        *("TORCH_DYNAMO_AUTOMATIC_DYNAMIC_REMOTE_PGO", "CCACHE_REMOTE_STORAGE"),
    ],
)
def test_remote_caches_are_switched_off_and_recorded(caches: Caches, variable: str) -> None:
    user = {variable: "1"}
    assert variable not in of_start(caches, user)
    assert overridden(user) == [variable]
    assert of_start(caches, user) == of_start(caches, {})


def test_the_variables_that_are_replaced_because_they_are_set_are_listed() -> None:
    user = {"HELION_CACHE_DIR": "/a", "VLLM_CACHE_ROOT": "/b", "TRITON_CACHE_MANAGER": "m:C", "PATH": "/bin"}
    assert replaced_where_set(user) == ["HELION_CACHE_DIR", "TRITON_CACHE_MANAGER"]


@pytest.mark.parametrize(
    "name",
    [
        "MYLIB_CACHE_DIR",
        "MYLIB_CACHE_PATH",
        "mylib_cache_root",
        "X_CACHE_HOME",
        "X_WORKSPACE_BASE",
        "X_JIT_DIR",
        "BLACKWELL_CACHE_DIR",
        "CIRCUIT_CACHE_DIR",
        "GOOGLE_CACHE_DIR",
    ],
)
def test_unknown_variables_that_look_like_a_cache_are_listed(name: str) -> None:
    assert unknown({name: "/anywhere"}) == [name]


def test_a_variable_with_cache_in_its_name_that_is_a_folder_is_listed(tmp_path: Path) -> None:
    assert unknown({"MYLIB_CACHE": str(tmp_path)}) == ["MYLIB_CACHE"]


@pytest.mark.parametrize("value", ["1", "tests", "redis://host/0", "~nobody-of-that-name/x", "a\0b", ""])
def test_a_variable_with_cache_in_its_name_that_is_not_a_folder_is_not_listed(value: str) -> None:
    assert unknown({"MYLIB_CACHE": value}) == []


@pytest.mark.parametrize(
    "name",
    [
        *(
            "PIP_CACHE_DIR",
            "npm_config_cache",
            "GOCACHE",
            "GOMODCACHE",
            "UV_CACHE_DIR",
            "CARGO_CACHE_DIR",
            "RUFF_CACHE_DIR",
        ),
        *("VLLM_LORA_RESOLVER_CACHE_DIR", "TIKTOKEN_CACHE_DIR", "PYTHONPYCACHEPREFIX", "RUNNER_TOOL_CACHE_DIR"),
        *("VLLM_CACHE_ROOT", "HELION_CACHE_DIR", "FLASHINFER_WORKSPACE_BASE", "TRITON_CACHE_MANAGER", "PATH"),
    ],
)
def test_known_variables_are_not_listed_as_unknown(name: str, tmp_path: Path) -> None:
    assert unknown({name: str(tmp_path)}) == []


def test_the_users_caches_are_the_folders_in_variables_and_the_defaults() -> None:
    user = {
        "HOME": "/users/me",
        "USER": "me",
        "TMPDIR": "/scratch",
        "VLLM_CACHE_ROOT": "/cache/vllm",
        "HELION_CACHE_DIR": "/cache/helion",
        "QUACK_CACHE_DIR": "relative",
        "HF_HUB_CACHE": "/models",
    }
    found = {str(place) for place in places(user)}
    assert {"/cache/vllm", "/cache/helion", "/users/me/.cache/vllm", "/users/me/.triton"} <= found
    assert {"/scratch/torchinductor_me", "/tmp/torchinductor_me", "/users/me/.cache/flashinfer"} <= found
    assert not {"/users/me", "/scratch", "/models", "relative"} & found
    assert "/xdg/vllm" in {str(place) for place in places({**user, "XDG_CACHE_HOME": "/xdg"})}


def test_a_folder_with_a_package_in_development_mode_is_not_a_cache(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    root = Path(coldwarm.__file__).parents[2]
    monkeypatch.setattr("sys.path", [])
    monkeypatch.chdir(tmp_path)
    assert root not in places({"DG_JIT_CACHE_DIR": str(root)})
    assert root / "cache" in places({"DG_JIT_CACHE_DIR": str(root / "cache")})


@pytest.mark.parametrize("folder", ["/", "/root-of-python"])
def test_a_folder_with_python_is_not_a_cache(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.prefix", "/root-of-python/venv")
    assert Path(folder) not in places({"DG_JIT_CACHE_DIR": folder})


def test_a_variable_may_name_the_home_folder_of_a_user_who_does_not_exist() -> None:
    assert "nosuchuser" not in str(places({"DG_JIT_CACHE_DIR": "~nosuchuser/cache"}))
