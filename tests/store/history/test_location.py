"""Which store a text names, and what is shown of it."""

from __future__ import annotations

import pytest

from coldwarm.store.history.location import has_password, locate, shown


@pytest.mark.parametrize(
    ("url", "visible"),
    [
        ("postgresql://ci:hidden@host/db", "postgresql://ci:***@host/db"),
        ("postgresql://ci:hid/den@host/db", "postgresql://ci:***@host/db"),
        ("postgresql://ci:hidden?/#:@host:1/db", "postgresql://ci:***@host:1/db"),
        ("postgresql://ci:hid@den@host/db", "postgresql://ci:***@host/db"),
        ("postgresql://ci@tenant:hidden@host/db", "postgresql://ci@tenant:***@host/db"),
        ("postgresql://:hidden@host/db?a=b@c", "postgresql://:***@host/db?a=b@c"),
        ("postgresql:///db?host=h&Password=hidden&user=ci", "postgresql:///db?host=h&Password=***&user=ci"),
        ("postgresql://host/db?sslpassword=hidden", "postgresql://host/db?sslpassword=***"),
        ("postgresql://host/db?pass%77ord=hidden", "postgresql://host/db?pass%77ord=***"),
    ],
)
def test_a_password_is_not_shown(url: str, visible: str) -> None:
    assert has_password(url)
    assert (shown(url), str(locate(url))) == (visible, visible)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://ci@host:5432/db?sslmode=require&passfile=/secrets/pgpass",
        "postgresql://host:5432/db",
        "postgresql://ci@[::1]:5432/db",
        "history.db",
    ],
)
def test_a_url_without_a_password_is_shown_as_it_is(url: str) -> None:
    assert not has_password(url)
    assert shown(url) == url
