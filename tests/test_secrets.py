"""No value of a secret is found in anything that coldwarm writes, whatever the engine does with it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator

import pytest

from coldwarm.store.history.history import History
from tests.support.commands import Commands
from tests.support.records import tiny_config

IN_THE_ENVIRONMENT = {
    "VLLM_API_KEY": "env-upper-0a1b2c",
    "vllm_api_key": "env-lower-0a1b2c",
    "VLLM_HOST_PASSWD": "env-quotes-\"0a\\1b'2c",
    "AWS_SECRET_ACCESS_KEY": "env-other/0a1b+2c=",
    "TORCH_HUB_TOKEN": "env-umlaut-\N{LATIN SMALL LETTER U WITH DIAERESIS}0a1b2c",
    "VLLM_REDIS_URL": "redis://user:env-url-0a1b2c@host:6379/0",
    "SSH_PRIVATE_KEY": "-----BEGIN KEY-----\nenv-line-0a1b2c\n-----END KEY-----",
    "CFLAGS": "-DWITH=env-upper-0a1b2c",
}
SET = {
    "hf_token": "set-top-0a1b2c",
    "HF_TOKEN": "set-upper-0a1b2c",
    "additional_config.api_key": "set-nested-0a1b2c",
    "additional_config.servers": json.dumps([{"password": "set-list-0a1b2c", "port": 1}]),
    "additional_config.Credentials": json.dumps({"any": ["set-below-0a1b2c"]}),
    "additional_config.pin_password": "918273645",
    "additional_config.url": "https://set-url-0a1b2c@host/?access_token=set-query-0a1b2c",
    "additional_config.copy": "set-top-0a1b2c",
    "max_num_batched_tokens": "4096",
}
WARM_SET = {"hf_token": "warm-set-0a1b2c", "additional_config.of_environment": "warm-env-0a1b2c"}
WARM_ENVIRONMENT = {"WARM_API_KEY": "warm-env-0a1b2c", "VLLM_FAKE_COPY": "env-upper-0a1b2c"}
VALUES = [
    "env-upper-0a1b2c",
    "env-lower-0a1b2c",
    "env-quotes-",
    "env-other/0a1b+2c=",
    "env-umlaut-",
    "env-url-0a1b2c",
    "env-line-0a1b2c",
    "set-top-0a1b2c",
    "set-upper-0a1b2c",
    "set-nested-0a1b2c",
    "set-list-0a1b2c",
    "set-below-0a1b2c",
    "918273645",
    "set-url-0a1b2c",
    "set-query-0a1b2c",
    "warm-set-0a1b2c",
    "warm-env-0a1b2c",
]


def flags() -> Iterator[str]:
    for flag, settings in (("--set", SET), ("--warm-set", WARM_SET)):
        for name, value in settings.items():
            yield from (flag, f"{name}={value}")
    for name, value in WARM_ENVIRONMENT.items():
        yield f"--warm-env={name}={value}"


class Run:
    """A suite of one model whose engine leaks all that it is given, and what every command printed of it."""

    def __init__(self, commands: Commands, behaves: str, *more: str) -> None:
        self.folder = commands.folder
        self.out = commands.folder / "out"
        seen = commands.folder / "seen.json"
        config = commands.folder / "tiny" / "config.json"
        config.parent.mkdir()
        config.write_text(json.dumps(tiny_config(behaves=behaves)))
        variables = {**IN_THE_ENVIRONMENT, "FAKE_LEAKS": str(seen)}
        reports = ("--junit", "out/junit.xml", "--markdown", "out/summary.md")
        settings = ("--output", "out", "--store", "out/history.db", *flags(), *more)
        arguments = ("run", str(config), "--engine", "fake", *reports, *settings)
        self.printed = [commands.run(*arguments, **variables)]
        for command in ("judge", "explain", "show"):
            # Where the environment has no secrets: what is stored is what is shown.
            self.printed.append(commands.run_in_process(command, "out"))
        self.printed.append(commands.run_in_process("judge", "out", "--json"))
        self.printed.append(commands.run_in_process("explain", "out", "--perfetto", "out/perfetto.json"))
        self.seen = json.loads(seen.read_text())

    def leaks(self) -> list[str]:
        files = [path for path in self.out.rglob("*") if path.is_file()]
        texts = {str(path.relative_to(self.folder)): path.read_bytes() for path in files}
        with History.open(str(self.out / "history.db"), create=False) as history:
            [point] = history.points()
            history.export(point.id, self.folder / "exported")
        texts["the history"] = repr(point).encode()
        texts |= {str(path): path.read_bytes() for path in (self.folder / "exported").rglob("*.json")}
        for done in self.printed:
            texts[f"stdout of {done.args[3]}"] = done.stdout.encode()
            texts[f"stderr of {done.args[3]}"] = done.stderr.encode()
        assert {"out/suite.json", "out/tiny/cold.log", "out/tiny/cold.trace/trace.log"} <= texts.keys()
        return [f"{value} in {where}" for where, text in texts.items() for value in VALUES if value.encode() in text]

    def record(self, name: str) -> dict[str, object]:
        content: dict[str, object] = json.loads((self.out / "tiny" / name).read_bytes())
        return content


@pytest.fixture(scope="module")
def leaky(tmp_path_factory: pytest.TempPathFactory) -> Run:
    from tests.conftest import _SITE
    from tests.support.commands import ROOT

    return Run(Commands(tmp_path_factory.mktemp("leaky"), [_SITE, ROOT]), "healthy", "--isolation", "fork")


def test_no_secret_is_in_what_a_finished_run_writes(leaky: Run) -> None:
    assert leaky.printed[0].returncode == 0, leaky.printed[0].stderr
    assert leaky.leaks() == []


def test_no_secret_is_in_what_a_run_with_spawned_processes_writes(commands: Commands) -> None:
    run = Run(commands, "healthy", "--isolation", "spawn", "--json")
    assert run.printed[0].returncode == 0, run.printed[0].stderr
    assert run.leaks() == []


def test_no_secret_is_in_what_a_crash_writes(commands: Commands) -> None:
    run = Run(commands, "raises")
    assert run.printed[0].returncode == 3, run.printed[0].stderr
    assert "no such weights with {" in run.printed[0].stdout
    assert run.leaks() == []


def test_no_secret_is_printed_where_nothing_can_be_forked(commands: Commands) -> None:
    config = commands.folder / "config.json"
    config.write_text(json.dumps(tiny_config()))
    problem = "cannot import with env-upper-0a1b2c"
    done = commands.run("run", config, "--engine", "fake", FAKE_PRELOAD_FAILS=problem, **IN_THE_ENVIRONMENT)
    assert "cannot import with (secret)" in done.stderr
    assert "env-upper-0a1b2c" not in done.stderr


def test_the_engine_is_given_the_secrets_as_they_are(leaky: Run) -> None:
    cold, warm = leaky.seen
    assert IN_THE_ENVIRONMENT.items() <= cold["environment"].items()
    assert WARM_ENVIRONMENT.items() <= warm["environment"].items()
    assert cold["options"] == {
        "hf_token": "set-top-0a1b2c",
        "HF_TOKEN": "set-upper-0a1b2c",
        "additional_config": {
            "api_key": "set-nested-0a1b2c",
            "servers": [{"password": "set-list-0a1b2c", "port": 1}],
            "Credentials": {"any": ["set-below-0a1b2c"]},
            "pin_password": 918273645,
            "url": "https://set-url-0a1b2c@host/?access_token=set-query-0a1b2c",
            "copy": "set-top-0a1b2c",
        },
        "max_num_batched_tokens": 4096,
    }
    assert warm["options"]["hf_token"] == "warm-set-0a1b2c"


def test_a_trace_without_its_secrets_is_whole(leaky: Run) -> None:
    for name in ("cold.json", "warm.json"):
        work = leaky.record(name)["compiler_work"]
        assert isinstance(work, dict)
        assert (work["garbled_lines"], work["records"]) == (0, 6)
        assert work["passed_over"]["artifact:vllm_compilation_config"] == 1


def test_what_is_no_secret_is_recorded(leaky: Run) -> None:
    options = leaky.record("cold.json")["options"]
    assert isinstance(options, dict)
    assert options["max_num_batched_tokens"] == 4096
    assert options["additional_config"]["servers"] == [{"password": "(set, not recorded)", "port": 1}]
    assert "max_num_batched_tokens=4096" in json.dumps(json.loads((leaky.out / "suite.json").read_bytes())["command"])


def test_a_secret_that_changed_is_named_as_a_changed_part_of_the_key(leaky: Run) -> None:
    cold, warm = (json.loads((leaky.out / "tiny" / f"{kind}.keys.json").read_bytes()) for kind in ("cold", "warm"))
    values = [keys["factors"]["options"]["hf_token"] for keys in (cold, warm)]
    assert len(set(values)) == 2
    assert all(value.startswith("(secret ") for value in values)
    assert cold["factors"]["environment"]["VLLM_API_KEY"] == warm["factors"]["environment"]["VLLM_API_KEY"]


def test_the_command_to_reproduce_leaves_out_what_it_cannot_set(leaky: Run) -> None:
    [reproduce] = [line for line in leaky.printed[3].stdout.splitlines() if line.startswith("  reproduce: ")]
    assert "--set max_num_batched_tokens=4096" in reproduce
    assert "not recorded" not in reproduce
    assert "(secret)" not in reproduce
    assert "hf_token" not in reproduce


def test_show_names_options_that_are_set_and_not_recorded(leaky: Run) -> None:
    shown: subprocess.CompletedProcess[str] = leaky.printed[3]
    assert 'hf_token="(set, not recorded)"' in shown.stdout
    assert "VLLM_API_KEY=(set, not recorded)" in shown.stdout
