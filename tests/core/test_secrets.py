from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coldwarm.core import secrets as secrets_module
from coldwarm.core.secret_names import is_secret_name
from coldwarm.core.secrets import (
    MASK,
    Secrets,
    masked,
    masked_argv,
    masked_options,
    tag,
    unmasked,
)
from coldwarm.trace.records import MalformedLines, read_records
from tests.support.traces import digested, trace_text

TOKEN = "hunter2-0a1b2c"


@pytest.mark.parametrize(
    "name",
    [
        *("HF_TOKEN", "hf_token", "Hf_ToKeN", "HFToken", "hftoken", "token", "GITHUB_TOKEN_2", "HF_TOKEN_PROD"),
        *("VLLM_API_KEY", "vllm_api_key", "apiKey", "APIKEY", "X-Api-Key", "--api-key", "api_keys"),
        *("VLLM_HOST_PASSWD", "REDISPASSWORD", "PGPASSWORD", "MYSQL_PWD", "REDIS_PASS", "passphrase"),
        *("AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID", "client_secret", "VLLM_S3_SECRET", "ssh_private_key"),
        *("credentials", "CREDENTIAL", "REDISCLI_AUTH", "Authorization", "auth_tokens", "GITHUB_PAT"),
        *("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "AZURE_STORAGE_CONNECTION_STRING", "session_cookie", "oauth2Token"),
    ],
)
def test_names_of_secrets(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize(
    "name",
    [
        # vllm/envs.py, vllm/config and vllm/engine/arg_utils.py of 0.26 to 0.33
        *("VLLM_MAX_TOKENS_PER_EXPERT_FP4_MOE", "VLLM_MULTI_STREAM_GEMM_TOKEN_THRESHOLD", "VLLM_USE_FASTOKENS"),
        *("max_num_batched_tokens", "tokenizer", "tokenizer_mode", "skip_tokenizer_init", "prompt_token_ids"),
        *("num_experts_per_token", "suffix_decoding_min_token_prob", "VLLM_ENABLE_PREGRAD_PASSES", "pass_config"),
        # torch/_inductor/config.py
        *("post_grad_custom_post_pass", "joint_custom_pre_pass", "_fuse_ddp_communication_passes"),
        # transformers: special tokens
        *("eos_token", "pad_token_id", "vision_start_token", "image_token"),
        *("PYTHONHASHSEED", "PWD", "OLDPWD", "SSH_AUTH_SOCK", "XAUTHORITY", "PASSWORD_FILE", "HF_TOKEN_PATH"),
        *("key", "cache_key", "keys", "tokens", "author", "COLDWARM_START", "", "_", "1"),
    ],
)
def test_names_that_are_not_of_secrets(name: str) -> None:
    assert not is_secret_name(name)


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("HF_TOKEN", TOKEN, MASK),
        ("VLLM_API_KEY", "", ""),
        ("VLLM_USE_AUTH", "1", "1"),
        ("VLLM_URL", f"redis://user:{TOKEN}@host:1/0", f"redis://{MASK}@host:1/0"),
        ("VLLM_URL", f"redis://:{TOKEN}@host", f"redis://{MASK}@host"),
        ("VLLM_URL", f"https://{TOKEN}@host/path?a=1", f"https://{MASK}@host/path?a=1"),
        ("VLLM_URL", f"https://host/?a=1&api_key={TOKEN}&b=2", f"https://host/?a=1&api_key={MASK}&b=2"),
        ("VLLM_URL", "ssh://git@host/path", "ssh://git@host/path"),
        ("VLLM_URL", "http://host:80/image@2x.png", "http://host:80/image@2x.png"),
        ("URL", f"postgresql://ci:{TOKEN}/{TOKEN}@host/db", f"postgresql://{MASK}@host/db"),
        ("URL", f"mysql+pymysql://ci@tenant:{TOKEN}?/#@x@host/db", f"mysql+pymysql://{MASK}@host/db"),
        ("URL", "postgresql://host:1/a and me@b, 'postgres://h:1/a', 'c@d'", None),
        ("URL", "docker://host:5000/image@sha256", None),
        ("VLLM_CONFIG", json.dumps({"a": [{"password": TOKEN}]}), json.dumps({"a": [{"password": MASK}]})),
        ("VLLM_CONFIG", '{"a":  1}', '{"a":  1}'),
        ("VLLM_CONFIG", "{not JSON", "{not JSON"),
    ],
)
def test_a_variable_is_masked_by_its_name_or_the_form_of_its_value(name: str, value: str, shown: str | None) -> None:
    assert masked(name, value) == (value if shown is None else shown)


def test_a_password_with_a_slash_is_removed_elsewhere_too() -> None:
    secrets = Secrets({"": f"postgresql://ci:{TOKEN}/2@host/db"})
    assert secrets.text(f"wrong password {TOKEN}/2") == "wrong password (secret)"


def test_options_are_masked_at_any_depth() -> None:
    options = {
        "hf_token": TOKEN,
        "additional_config": {
            "APIKey": TOKEN,
            "servers": [{"password": 123456, "port": 1}, [f"https://{TOKEN}@host"]],
            "credentials": {"user": "me", "rights": ["a", None, True]},
            "flags": ["HF_TOKEN=x", "seed=1"],
        },
        "some_token": 8,
        "auth": False,
        "dtype": "bfloat16",
    }
    assert masked_options(options) == {
        "hf_token": MASK,
        "additional_config": {
            "APIKey": MASK,
            "servers": [{"password": MASK, "port": 1}, [f"https://{MASK}@host"]],
            "credentials": {"user": MASK, "rights": [MASK, None, True]},
            "flags": [f"HF_TOKEN={MASK}", "seed=1"],
        },
        "some_token": 8,
        "auth": False,
        "dtype": "bfloat16",
    }


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["--set", f"hf_token={TOKEN}"], ["--set", f"hf_token={MASK}"]),
        (["--set", f"a.api_key={TOKEN}=="], ["--set", f"a.api_key={MASK}"]),
        ([f"--warm-env=HF_TOKEN={TOKEN}"], [f"--warm-env=HF_TOKEN={MASK}"]),
        (["--warm-set", f'a={{"password": "{TOKEN}"}}'], ["--warm-set", f'a={{"password": "{MASK}"}}']),
        ([f"--api-key={TOKEN}", "x"], [f"--api-key={MASK}", "x"]),
        (["--api-key", TOKEN, "x"], ["--api-key", MASK, "x"]),
        (["--api-key", "--set", "a=1"], ["--api-key", "--set", "a=1"]),
        (["--set", "max_num_batched_tokens=1", "model"], ["--set", "max_num_batched_tokens=1", "model"]),
        (["--set", "a.some_token=8"], ["--set", "a.some_token=8"]),
    ],
)
def test_a_command_line_is_masked(words: list[str], shown: list[str]) -> None:
    assert masked_argv(["coldwarm", "run", *words]) == ["coldwarm", "run", *shown]


def test_unmasked_settings_are_returned() -> None:
    recorded = {"A": "1", "HF_TOKEN": MASK, "URL": f"redis://{MASK}@host", "COPY": "-D(secret)"}
    assert unmasked(recorded) == {"A": "1"}


def test_values_are_removed_from_text_with_any_quoting() -> None:
    value = "hunter2\"\\'\N{LATIN SMALL LETTER U WITH DIAERESIS}"
    secrets = Secrets({"HF_TOKEN": value})
    known = {"a": value}
    for text in (value, repr(known), json.dumps(known), json.dumps(json.dumps(known)), json.dumps([repr(known)])):
        assert "hunter2" in text
        assert "hunter2" not in secrets.text(f"before {text} after")


def test_the_longest_value_is_removed_first() -> None:
    assert Secrets({"A_TOKEN": "abcdef", "B_TOKEN": "abcdefgh"}).text("abcdefgh abcdef") == "(secret) (secret)"


@pytest.mark.parametrize("value", ["", "EMPTY", "true", "12345", "none", str(Path(__file__)), MASK])
def test_values_that_are_not_secrets_or_too_short_are_not_removed(value: str) -> None:
    secrets = Secrets({"HF_TOKEN": value, "VLLM_API_KEY": value})
    assert not secrets
    assert secrets.text(f"x {value} y") == f"x {value} y"


def test_only_complete_numbers_are_removed() -> None:
    secrets = Secrets({"pin_password": 123456})
    assert (
        secrets.text('"ts": 1234567, 1.123456, 0123456, pin 123456') == '"ts": 1234567, 1.123456, 0123456, pin (secret)'
    )


def test_replacements_of_secrets_are_not_changed() -> None:
    assert Secrets({"A_TOKEN": "recorded", "B_TOKEN": "secret"}).text(f"{MASK} (secret)") == f"{MASK} (secret)"


def test_a_tag_distinguishes_values_without_revealing_them() -> None:
    secrets = Secrets({"A_TOKEN": "value-1", "B_TOKEN": "value-2"})
    assert secrets.tagged("x value-1") == f"x {tag('value-1')}"
    assert secrets.tagged("value-1") != secrets.tagged("value-2")
    assert "value" not in secrets.tagged("value-1")


pieces = st.lists(st.sampled_from([b"hunter2-0a1b2c", b"hunter2-", b"123456", b"7", b".", b"\n", b"\t", b"x" * 7]))


@given(pieces=pieces, block=st.integers(1, 40))
def test_a_file_of_any_size_is_overwritten_like_text_in_memory(
    pieces: list[bytes], block: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "file.log"
    content = b"".join(pieces)
    path.write_bytes(content)
    secrets = Secrets({"HF_TOKEN": TOKEN, "pin_password": 123456})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(secrets_module, "_BLOCK_BYTES", block)
        secrets.remove_from_files([path])
    expected = secrets.text(content.decode()).replace("(secret)", "#")
    left = path.read_bytes()
    assert len(left) == len(content)
    assert left.decode().replace("*" * len(TOKEN), "#").replace("111111", "#") == expected


@pytest.mark.parametrize("block", range(1, 20))
def test_part_of_a_longer_number_is_not_removed_at_any_block_boundary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    monkeypatch.setattr(secrets_module, "_BLOCK_BYTES", block)
    path = tmp_path / "a.log"
    for before in range(20):
        content = "x" * before + "7123456 123456 1234567"
        path.write_text(content)
        Secrets({"pin_password": 123456}).remove_from_files([path])
        assert path.read_text() == content.replace(" 123456 ", " 111111 ")


def test_a_file_without_secrets_is_not_changed(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_text("nothing")
    path.chmod(0o444)
    before = path.stat().st_mtime_ns
    Secrets({"HF_TOKEN": TOKEN}).remove_from_files([path, tmp_path / "missing.log", tmp_path])
    assert (path.read_text(), path.stat().st_mtime_ns) == ("nothing", before)


def records_of(path: Path) -> tuple[list[tuple[object, str]], int]:
    malformed = MalformedLines()
    return [(record.kind(), record.text()) for record in read_records(path, malformed)], malformed.count


def test_records_of_a_trace_stay_intact(tmp_path: Path) -> None:
    path = tmp_path / "rank_0.log"
    long = "\n".join([f"x = {TOKEN}", "", "\ty = 1", TOKEN])
    path.write_text(
        trace_text(
            digested({"artifact": {"name": "config", "encoding": "json"}}, json.dumps({"token": TOKEN, "pin": 123456})),
            ({"str": [TOKEN, 1]}, None),
            digested({"graph_dump": {"name": "a"}}, long),
            digested({"graph_dump": {"name": "b"}}, "untouched"),
            digested({"graph_dump": {"name": "c"}}, f"at the end {TOKEN}"),
        )
    )
    size = path.stat().st_size
    Secrets({"HF_TOKEN": TOKEN, "pin_password": 123456}).remove_from_traces([tmp_path])
    assert path.stat().st_size == size
    mask = "*" * len(TOKEN)
    records, malformed = records_of(path)
    assert malformed == 0
    assert records == [
        ("artifact:config", json.dumps({"token": mask, "pin": 111111})),
        ("str", ""),
        ("graph_dump", long.replace(TOKEN, mask)),
        ("graph_dump", "untouched"),
        ("graph_dump", f"at the end {mask}"),
    ]


def test_a_malformed_record_stays_malformed(tmp_path: Path) -> None:
    path = tmp_path / "rank_0.log"
    metadata, _ = digested({"graph_dump": {"name": "a"}}, f"{TOKEN} and more that was cut off")
    path.write_text(trace_text((metadata, TOKEN)))
    Secrets({"HF_TOKEN": TOKEN}).remove_from_traces([tmp_path])
    assert TOKEN not in path.read_text()
    assert records_of(path) == ([], 2)


def write_result(folder: Path, **content: object) -> Path:
    path = folder / "cold.result.json"
    path.write_text(json.dumps(content))
    return path


def remove(folder: Path, secrets: Secrets) -> None:
    (folder / "cold.trace").mkdir(exist_ok=True)
    secrets.remove_from_start(
        log=folder / "cold.log",
        trace=folder / "cold.trace",
        request=folder / "cold.request.json",
        result=folder / "cold.result.json",
        reports=folder / "cold.reports",
    )


def test_secrets_in_cache_keys_are_replaced_by_tags(tmp_path: Path) -> None:
    factors = {
        "environment": {"VLLM_API_KEY": MASK, "VLLM_OTHER": f"x {TOKEN}", "HF_TOKEN": "None"},
        "config.additional_config": {"server.password": "short", "servers": f"[{TOKEN!r}]", "seed": "1"},
        "source": {"/site/auth.py": "sha256 0123"},
    }
    path = tmp_path / "cold.reports" / "1.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"cache_keys": {"factors": factors, "hints": {}, "problems": [f"x {TOKEN}"]}}))
    remove(tmp_path, Secrets({"VLLM_API_KEY": "sk-0a1b2c", "HF_TOKEN": TOKEN}))
    keys = json.loads(path.read_bytes())["cache_keys"]
    assert keys["factors"] == {
        "environment": {"VLLM_API_KEY": tag("sk-0a1b2c"), "VLLM_OTHER": f"x {tag(TOKEN)}", "HF_TOKEN": "None"},
        "config.additional_config": {"server.password": tag("short"), "servers": f"['{tag(TOKEN)}']", "seed": "1"},
        "source": {"/site/auth.py": "sha256 0123"},
    }
    assert keys["problems"] == ["x (secret)"]


def test_numbers_in_a_result_are_not_changed(tmp_path: Path) -> None:
    path = write_result(tmp_path, facts={"counters": {"a": 123456}}, failure={"what": "no 123456"})
    remove(tmp_path, Secrets({"pin_password": 123456}))
    assert json.loads(path.read_bytes()) == {"facts": {"counters": {"a": 123456}}, "failure": {"what": "no (secret)"}}


@pytest.mark.parametrize(
    "name",
    [
        "cold.result.json",
        "cold.result.part",
        "cold.request.json",
        "cold.log",
        "cold.reports/1.json",
        "cold.reports/1.part",
    ],
)
def test_secrets_are_removed_from_a_truncated_file(tmp_path: Path, name: str) -> None:
    (tmp_path / "cold.reports").mkdir()
    (tmp_path / name).write_text(f'{{"hf_token": "{TOKEN}", "more')
    remove(tmp_path, Secrets({"HF_TOKEN": TOKEN}))
    assert (tmp_path / name).read_text() == f'{{"hf_token": "{"*" * len(TOKEN)}", "more'


@pytest.mark.parametrize("content", ["[]", "null", "1", '{"cache_keys": []}', '{"cache_keys": {"factors": [1]}}'])
def test_any_content_of_a_result_is_accepted(tmp_path: Path, content: str) -> None:
    path = tmp_path / "cold.result.json"
    path.write_text(content)
    remove(tmp_path, Secrets({"HF_TOKEN": TOKEN}))
    assert json.loads(path.read_bytes()) == json.loads(content)


def test_digests_are_those_that_pytorch_computes(tmp_path: Path) -> None:
    path = tmp_path / "rank_0.log"
    path.write_text(trace_text(digested({"graph_dump": {"name": "a"}}, f"a\n{TOKEN}")))
    Secrets({"HF_TOKEN": TOKEN}).remove_from_traces([tmp_path])
    payload = f"a\n{'*' * len(TOKEN)}".encode()
    assert hashlib.md5(payload, usedforsecurity=False).hexdigest() in path.read_text()
