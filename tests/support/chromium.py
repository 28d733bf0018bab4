"""Pages in a real Chromium without a screen, which must load nothing and report no error."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Dialog, Page, Request, sync_playwright

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)


def executable() -> str | None:
    """Return the path of the installed Chromium."""
    return next((path for path in map(shutil.which, _NAMES) if path is not None), None)


@contextmanager
def started_chromium() -> Iterator[Browser]:
    """Start Chromium; skip the test if there is none, but fail in CI."""
    path = executable()
    if path is None:
        reason = "there is no Chromium; to install it: apt-get install chromium"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(_FLAGS))
        try:
            yield browser
        finally:
            browser.close()


class Watched:
    """A browser whose pages are watched for errors and requests."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self.problems: list[str] = []
        """Errors, dialogs, and requests for anything but the opened file."""

    @contextmanager
    def page(self, file: Path, *, fragment: str = "", **context: Any) -> Iterator[Page]:
        """Open `file`; `context` has options of a browser's context, such as ``color_scheme``."""
        address = file.resolve().as_uri()

        def on_request(request: Request) -> None:
            if request.url.split("#")[0] not in (address, "data:,"):
                self.problems.append(f"request: {request.url}")

        def on_console(message: ConsoleMessage) -> None:
            self.problems.append(f"console: {message.text}")

        def on_dialog(dialog: Dialog) -> None:
            self.problems.append(f"dialog: {dialog.message}")
            dialog.dismiss()

        with self._browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **context}) as opened:
            page = opened.new_page()
            page.set_default_timeout(10_000)
            page.on("request", on_request)
            page.on("console", on_console)
            page.on("pageerror", lambda error: self.problems.append(f"error: {error}"))
            page.on("dialog", on_dialog)
            page.goto(address + fragment)
            yield page
