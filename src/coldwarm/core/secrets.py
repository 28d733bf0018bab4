"""Masks secrets in settings, and removes their values from the output of a start.

The name of a setting determines whether it is a secret (`coldwarm.core.secret_names`). The values of secrets are also
removed elsewhere, because engines print their environment and options to logs, PyTorch's trace, exceptions and cache
keys.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from coldwarm.core.secret_names import is_password_name, is_secret_name, is_token_name

MASK = "(set, not recorded)"
"""Replaces the value of a secret in records and commands."""
_REMOVED = "(secret)"

_SHORTEST_VALUE = 6
"""In characters; shorter values (``EMPTY``, ``none``) occur in ordinary text."""
_DEEPEST_QUOTING = 2
"""How often a value may have been quoted: PyTorch's trace has JSON that contains Python literals."""
_BLOCK_BYTES = 4 << 20
_NO_VALUE = frozenset(("", "0", "1", "false", "no", "none", "null", "off", "on", "true", "yes"))
_LONGEST_LINE = 64 << 20
"""In bytes; the length of the longest record that `coldwarm.trace.records` reads."""


# ``scheme://user:password@host``; ``https://token@host``, but not ``ssh://git@host``.
_USER_INFO = re.compile(
    r"(?i)\b([a-z][a-z0-9+.-]*:)//([^/?#@:\s\"']*:[^/?#\s\"']*|(?<=http://)[^/?#@:\s\"']+|(?<=https://)[^/?#@:\s\"']+)@"
)
# In the URL of a database, as SQLAlchemy reads it, the password may contain slashes, and the user an `@`.
_DATABASE_USER_INFO = re.compile(
    r"(?i)\b((?:postgres(?:ql)?|mysql|mariadb|mssql|oracle)(?:\+\w+)?:)"
    r"//([^/:\s\"']*:[^@\s\"']*(?:@[^/?#@\s\"']*)*)@"
)
_ASSIGNMENT = re.compile(r"(?s)(--?)?([A-Za-z_][\w.-]*)=(.*)")
_QUERY = re.compile(r"([?&;])([\w.~-]+)=([^&;#\s\"']+)")
_SIGNATURES = frozenset(("sig", "signature", "x-amz-signature", "x-goog-signature"))


def masked(name: str, value: str) -> str:
    """Return the `value` of a variable, masked if its `name` is that of a secret; mask credentials in URLs and JSON."""
    if is_secret_name(name):
        return value if value.lower() in _NO_VALUE else MASK
    return _masked_text(value)


def masked_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return `options` with every secret masked, by name at any depth, in lists, in URLs and in JSON text."""
    return {name: _masked_option(name, value) for name, value in options.items()}


def masked_argv(argv: Sequence[str]) -> list[str]:
    """Return a command line with every secret masked.

    Recognized forms are ``NAME=VALUE`` (also after options such as ``--set`` and ``--warm-set=``), ``--api-key=VALUE``,
    ``--api-key VALUE``, and URLs with credentials.
    """
    words: list[str] = []
    for word in argv:
        flag = words[-1] if words else ""
        if flag.startswith("-") and "=" not in flag and is_secret_name(flag) and not word.startswith("-"):
            words.append(MASK)
        else:
            words.append(_masked_text(word))
    return words


def is_masked(value: str) -> bool:
    """Return whether `value` was masked, completely or partially, so that it cannot be set again."""
    return MASK in value or _REMOVED in value


def unmasked(settings: Mapping[str, str]) -> dict[str, str]:
    """Return the recorded `settings` without masked ones, which cannot be set again."""
    return {name: value for name, value in settings.items() if not is_masked(value)}


def _masked_option(name: str, value: Any) -> Any:
    if is_password_name(name):
        return _masked_leaves(value, numbers=True)
    if is_token_name(name):
        return _masked_leaves(value, numbers=False)
    return _masked_tree(value)


def _masked_tree(value: Any) -> Any:
    match value:
        case dict():
            return {key: _masked_option(str(key), item) for key, item in value.items()}
        case list() | tuple():
            return [_masked_tree(item) for item in value]
        case str():
            return _masked_text(value)
    return value


def _masked_leaves(value: Any, *, numbers: bool) -> Any:
    match value:
        case dict():
            return {key: _masked_leaves(item, numbers=numbers) for key, item in value.items()}
        case list() | tuple():
            return [_masked_leaves(item, numbers=numbers) for item in value]
        case str():
            return value if value.lower() in _NO_VALUE else MASK
        case bool() | None:
            return value
        case int() | float() if numbers:
            return MASK
    return value


def _masked_text(text: str) -> str:
    """Return `text` with the secrets masked that are recognized by their form: ``NAME=VALUE``, JSON, a URL."""
    if (assignment := _ASSIGNMENT.fullmatch(text)) is not None:
        dashes, name, value = assignment[1] or "", assignment[2], assignment[3]
        parts = name.split(".")
        is_count = value.isdigit() and not any(map(is_password_name, parts))
        if any(map(is_secret_name, parts)) and not is_count and value.lower() not in _NO_VALUE:
            return f"{dashes}{name}={MASK}"
        return f"{dashes}{name}={_masked_text(value)}"
    if (content := _json_of(text)) is not None:
        shown = _masked_tree(content)
        if shown != content:
            return json.dumps(shown)
    for form in (_DATABASE_USER_INFO, _USER_INFO):
        text = form.sub(lambda found: f"{found[1]}//{MASK}@", text)
    return _QUERY.sub(lambda found: f"{found[1]}{found[2]}={MASK}" if _is_secret_query(found[2]) else found[0], text)


def _is_secret_query(name: str) -> bool:
    return is_secret_name(name) or name.lower() in _SIGNATURES


def _json_of(text: str) -> Any:
    """Return `text` parsed as a JSON object or array; None if it is neither."""
    if not text.lstrip().startswith(("{", "[")):
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


# Distinguishes values of a secret without revealing them: the key exists only in this process.
_TAG_KEY = os.urandom(16)


def tag(value: str) -> str:
    """Return a replacement for a secret `value` with which starts can be compared; it is valid only in this process."""
    digest = hmac.new(_TAG_KEY, value.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()
    return f"(secret {digest[:6]})"


class Secrets:
    """The values of secrets in some settings, to be removed from text and files.

    Values with fewer than six characters and paths of existing files are ignored.

    Args:
        settings: Environments, and options of the engine.
    """

    def __init__(self, *settings: Mapping[str, Any]) -> None:
        self._named: dict[str, str] = {}
        values: set[str] = set()
        for each in settings:
            for name, value in each.items():
                if isinstance(value, str) and is_secret_name(name) and value.lower() not in _NO_VALUE:
                    self._named[name] = value
                values.update(_secret_values(name, value))
        lines = {line.strip() for value in values for line in value.splitlines()}
        self._values = {line for line in lines if _can_be_found(line)}
        forms = {form for value in self._values for form in _forms(value)}
        # Longest first, because a value may begin with another one.
        ordered = sorted(forms, key=lambda form: (-len(form), form))
        # Replacements of secrets are not changed, even if a value is a word in them.
        standing = (MASK, _REMOVED)
        self._text = re.compile("|".join([*map(re.escape, standing), *map(_pattern, ordered)])) if ordered else None
        as_bytes = [(_pattern(form).encode("utf-8", "surrogateescape"), form) for form in ordered]
        self._bytes = re.compile(b"|".join(pattern for pattern, _ in as_bytes)) if ordered else None
        self._forms = [form.encode("utf-8", "surrogateescape") for form in ordered]
        self._longest = max(map(len, self._forms), default=0)

    @classmethod
    def of_command(cls, argv: Sequence[str]) -> Secrets:
        """Return the secrets in the environment and the command line of this process."""
        return cls(os.environ, {"": list(argv)})

    def __bool__(self) -> bool:
        """Return whether there are any secrets."""
        return self._text is not None

    def text(self, text: str) -> str:
        """Return `text` with the values removed."""
        if self._text is None:
            return text
        return self._text.sub(lambda found: found[0] if is_masked(found[0]) else _REMOVED, text)

    def tagged(self, text: str) -> str:
        """Return `text` with each value replaced by a `tag`, so that texts with different values still differ."""
        if self._text is None:
            return text
        return self._text.sub(lambda found: found[0] if is_masked(found[0]) else tag(found[0]), text)

    def options(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return options of the engine for storing and printing: masked by name, and with the values removed."""
        return {name: self.tree(value) for name, value in masked_options(options).items()}

    def environment(self, environment: Mapping[str, str]) -> dict[str, str]:
        """Return variables for storing and printing: masked by name, and with the values removed."""
        return {name: self.text(masked(name, value)) for name, value in environment.items()}

    def tree(self, content: Any) -> Any:
        """Return JSON `content` with the values removed from its strings."""
        match content:
            case str():
                return self.text(content)
            case list() | tuple():
                return [self.tree(item) for item in content]
            case dict():
                return {self.text(key) if isinstance(key, str) else key: self.tree(i) for key, i in content.items()}
        return content

    def remove_from_start(self, *, log: Path, trace: Path, request: Path, result: Path, reports: Path) -> None:
        """Remove the values from the files of a start that has ended; missing files are ignored.

        Args:
            log: The log of its processes.
            trace: The folder of PyTorch's trace.
            request: The worker's `StartRequest`.
            result: The worker's `WorkerResult`.
            reports: The folder of the `ProcessReport` files; in their cache keys, each value is replaced by a `tag`.

        Raises:
            OSError: A file cannot be read or written.
        """
        for path in (result, *reports.glob("*.json")):
            self._remove_from_result(path)
        self.remove_from_files([log, request, result.with_suffix(".part"), *reports.glob("*.part")])
        self.remove_from_traces([trace])

    def remove_from_files(self, paths: Iterable[Path]) -> None:
        """Overwrite the values in files with asterisks, in position and with bounded memory."""
        for path in paths:
            if self and path.is_file() and self._is_in(path):
                self._overwrite(path)

    def remove_from_traces(self, folders: Iterable[Path]) -> None:
        """Overwrite the values in the trace files in `folders`, and update the digests of intact records."""
        for path in (path for folder in folders for path in sorted(folder.rglob("*"))):
            if self and path.is_file() and self._is_in(path):
                digests = list(self._new_digests(path))
                self._overwrite(path)
                with path.open("r+b") as file:
                    for offset, digest in digests:
                        file.seek(offset)
                        file.write(digest)

    def _remove_from_result(self, path: Path) -> None:
        try:
            content = json.loads(path.read_bytes())
        except FileNotFoundError:
            return
        except (ValueError, RecursionError):
            self.remove_from_files([path])
            return
        keys = content.get("cache_keys") if isinstance(content, dict) else None
        if isinstance(keys, dict):
            for part in ("factors", "hints"):
                if isinstance(keys.get(part), dict):
                    keys[part] = {group: self._factors(group, named) for group, named in keys[part].items()}
        path.write_text(json.dumps(self.tree(content)), encoding="utf-8")

    def _factors(self, group: str, factors: Any) -> Any:
        if not isinstance(factors, dict):
            return factors
        return {name: self._factor(group, name, value) for name, value in factors.items()}

    def _factor(self, group: str, name: str, value: Any) -> Any:
        # The names in this group are paths of source files.
        if not isinstance(value, str) or group == "source":
            return value
        if any(is_secret_name(part) for part in name.split(".")) and value.strip("'\"").lower() not in _NO_VALUE:
            # The worker may already have masked the variable.
            return tag(self._named.get(name, value) if group == "environment" else value)
        return self.tagged(value)

    def _is_in(self, path: Path) -> bool:
        """Return whether the file contains any form of a value."""
        before = b""
        with path.open("rb") as file:
            while block := file.read(_BLOCK_BYTES):
                data = before + block
                if any(form in data for form in self._forms):
                    return True
                before = data[-self._longest :]
        return False

    def _overwrite(self, path: Path) -> None:
        assert self._bytes is not None
        with path.open("r+b", buffering=0) as file:
            data, begin, done = b"", 0, 0
            while True:
                block = file.read(_BLOCK_BYTES)
                data += block
                # A value or number at the end of the data may continue in the next block.
                until = len(data) - self._longest - 1 if block else len(data)
                for found in self._bytes.finditer(data, done):
                    if found.start() >= until:
                        break
                    os.pwrite(file.fileno(), _asterisks(found), begin + found.start())
                    done = found.end()
                if not block:
                    return
                done = max(done, until, 0)
                # The preceding byte is needed to see where a number begins.
                cut = max(done - 1, 0)
                data, begin, done = data[cut:], begin + cut, done - cut

    def _new_digests(self, path: Path) -> Iterator[tuple[int, bytes]]:
        """Yield the offset and the new value of the digest of each payload that contains values.

        A record's ``has_payload`` is the MD5 of its payload (torch/_logging/_internal.py, `trace_structured`), which
        follows in lines that begin with a tab.
        """
        assert self._bytes is not None
        offset = 0
        position: tuple[int, bytes] | None = None
        lines = 0
        old = new = hashlib.md5(usedforsecurity=False)
        with path.open("rb") as file:
            while line := file.readline(_LONGEST_LINE):
                text = line.removesuffix(b"\n")
                if text.startswith(b"\t"):
                    if position is not None:
                        payload = (b"\n" if lines else b"") + text[1:]
                        old.update(payload)
                        new.update(self._bytes.sub(_asterisks, payload))
                        lines += 1
                else:
                    yield from _changed(position, old.hexdigest(), new.hexdigest())
                    digest = _DIGEST.search(text)
                    position = None if digest is None else (offset + digest.start(1), digest[1])
                    lines = 0
                    old, new = hashlib.md5(usedforsecurity=False), hashlib.md5(usedforsecurity=False)
                offset += len(line)
        yield from _changed(position, old.hexdigest(), new.hexdigest())


_DIGEST = re.compile(rb'"has_payload": ?"([0-9a-f]{32})"')


def _changed(position: tuple[int, bytes] | None, old: str, new: str) -> Iterator[tuple[int, bytes]]:
    # A payload that was damaged before must not appear intact now.
    if position is not None and position[1] == old.encode() and old != new:
        yield position[0], new.encode()


def _secret_values(name: str, value: Any) -> Iterator[str]:
    """Yield the values of secrets in a setting."""
    if is_secret_name(name):
        yield from _leaves(value, numbers=is_password_name(name))
        return
    match value:
        case dict():
            for key, item in value.items():
                yield from _secret_values(str(key), item)
        case list() | tuple():
            for item in value:
                yield from _secret_values("", item)
        case str():
            if (assignment := _ASSIGNMENT.fullmatch(value)) is not None:
                parts = assignment[2].split(".")
                yield from _secret_values(next(filter(is_secret_name, parts), ""), assignment[3])
            elif (content := _json_of(value)) is not None:
                yield from _secret_values("", content)
            for found in (*_DATABASE_USER_INFO.finditer(value), *_USER_INFO.finditer(value)):
                user, _, password = found[2].partition(":")
                yield password or user
                yield found[2]
            for found in _QUERY.finditer(value):
                if _is_secret_query(found[2]):
                    yield found[3]


def _leaves(value: Any, *, numbers: bool) -> Iterator[str]:
    match value:
        case dict():
            for item in value.values():
                yield from _leaves(item, numbers=numbers)
        case list() | tuple():
            for item in value:
                yield from _leaves(item, numbers=numbers)
        case str():
            yield value
            # The value of an HTTP header.
            if (scheme := re.match(r"(?i)(bearer|basic|token) +", value)) is not None:
                yield value[scheme.end() :]
        case bool() | None:
            return
        case int() | float() if numbers:
            yield str(value)


def _forms(value: str) -> set[str]:
    """Return the forms of `value` in text: literal, in a URL, and quoted by JSON and Python, also repeatedly."""
    forms = {value}
    for _ in range(_DEEPEST_QUOTING):
        forms |= {json.dumps(form)[1:-1] for form in forms}
        forms |= {json.dumps(form, ensure_ascii=False)[1:-1] for form in forms}
        forms |= {repr(form)[1:-1] for form in forms}
    forms |= {quote(value, safe="", errors="replace"), value.encode("utf-8", "backslashreplace").decode()}
    return {form for form in forms if _can_be_written(form)}


def _can_be_written(text: str) -> bool:
    try:
        text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return True


def _pattern(form: str) -> str:
    # Match only complete numbers, because its digits occur in many longer ones.
    return rf"(?<![0-9.]){form}(?![0-9])" if form.isascii() and form.isdigit() else re.escape(form)


def _asterisks(found: re.Match[bytes]) -> bytes:
    # A number in JSON must be replaced by a number.
    return (b"1" if found[0].isdigit() else b"*") * len(found[0])


def _can_be_found(value: str) -> bool:
    return len(value) >= _SHORTEST_VALUE and not is_masked(value) and not _is_a_path(value)


def _is_a_path(value: str) -> bool:
    with suppress(OSError, ValueError):
        return value.startswith(("/", "~/", "./")) and Path(value).expanduser().exists()
    return False
