"""Where a history is: a SQLite file or a PostgreSQL database, as named by --store or COLDWARM_STORE."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote_plus

from coldwarm.core.errors import UsageError
from coldwarm.core.secret_names import is_password_name
from coldwarm.core.user_paths import expanded

VARIABLE = "COLDWARM_STORE"
"""The environment variable that names the store if --store does not."""
DEFAULT = "default"
"""The name of `default_file`."""

_SQLITE = "sqlite:///"
_POSTGRESQL = re.compile(r"(?:postgres|postgresql|postgresql\+psycopg)://(.*)", re.DOTALL)
# For SQLAlchemy, a password ends at the first `@` and may contain slashes. One that contains an `@` is a mistake, whose
# rest must not be shown, either.
_PASSWORD = re.compile(r"(?<=://)([^/:]*):[^@]*@(?:[^/?]*@)?")
_QUERY = re.compile(r"([?&])([^?&=]*)=([^&]*)")


@dataclass(frozen=True)
class Location:
    """The place of a history."""

    url: str
    """The URL of a PostgreSQL database for SQLAlchemy. It may contain a password: never print it. Empty for a file."""
    file: Path | None
    """The SQLite file; None: a PostgreSQL database."""

    def __str__(self) -> str:
        """Return what --store takes, without a password."""
        return str(self.file) if self.file is not None else shown(self.url).replace("+psycopg://", "://", 1)


def default_file(environment: Mapping[str, str] = os.environ) -> Path:
    """Return the SQLite file of the user's own history: ``~/.local/share/coldwarm/history.db``."""
    data = environment.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(data, "coldwarm", "history.db")


def locate(store: str | None, environment: Mapping[str, str] = os.environ) -> Location:
    """Return the location of a store.

    Args:
        store: A path or ``sqlite:///PATH`` of a SQLite file, ``postgresql://...``, or ``default``; None: what the
            variable COLDWARM_STORE names, or else ``default``.
        environment: The variables.

    Raises:
        UsageError: It is neither.
    """
    text = store or environment.get(VARIABLE) or DEFAULT
    if text == DEFAULT:
        return _sqlite(default_file(environment))
    if (found := _POSTGRESQL.fullmatch(text)) is not None:
        return Location(f"postgresql+psycopg://{found[1]}", None)
    if text.startswith(_SQLITE) and len(text) > len(_SQLITE):
        return _sqlite(Path(text.removeprefix(_SQLITE)))
    if "://" in text or text.startswith("sqlite:"):
        raise UsageError(
            f"{shown(text)!r} is not a store; give a file, sqlite:///FILE or postgresql://USER@HOST/DATABASE"
        )
    return _sqlite(Path(text))


def shown(url: str) -> str:
    """Return `url` for printing, with asterisks for a password."""
    url = _PASSWORD.sub(lambda found: f"{found[1]}:***@", url)
    return _QUERY.sub(lambda found: f"{found[1]}{found[2]}=***" if _is_secret(found) else found[0], url)


def has_password(url: str) -> bool:
    """Return whether `url` contains a password."""
    return _PASSWORD.search(url) is not None or any(map(_is_secret, _QUERY.finditer(url)))


def _is_secret(parameter: re.Match[str]) -> bool:
    return is_password_name(unquote_plus(parameter[2]))


def _sqlite(path: Path) -> Location:
    path = expanded(path).absolute()
    return Location("", path)
