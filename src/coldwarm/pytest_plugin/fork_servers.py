"""What all tests of a pytest process fork their starts from, so that the engine is imported once, not once a test."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path

import pytest

from coldwarm.core.run_folder import SuiteFolder
from coldwarm.core.secrets import Secrets
from coldwarm.launch.caches import temporary_root
from coldwarm.launch.fork.client import ForkServers

_SHARED = pytest.StashKey[ForkServers]()


# A plugin may run each test in a process forked from this one (pytest-forked).
_PROCESS = os.getpid()


def fork_servers_of(config: pytest.Config, logs: Path, time_limit: float) -> ForkServers | None:
    """The fork servers of this pytest process, which end with it; new ones where what a test raised has ended them.

    None in a process of one test's own, which ends without a word to what it has begun.

    Args:
        config: The configuration of this process.
        logs: Where those that are made now keep what they print.
        time_limit: Seconds that importing an engine may take.
    """
    if os.getpid() != _PROCESS:
        return None
    servers = config.stash.get(_SHARED, None)
    if servers is None or servers.closed:
        ended_with_pytest = ExitStack()
        config.add_cleanup(ended_with_pytest.close)
        scratch = ended_with_pytest.enter_context(temporary_root())
        servers = ForkServers(scratch, logs, time_limit=time_limit)
        # Called in the reverse order: first the servers end.
        ended_with_pytest.callback(_remove_secrets, logs)
        ended_with_pytest.callback(servers.close)
        config.stash[_SHARED] = servers
    return servers


def _remove_secrets(logs: Path) -> None:
    Secrets(os.environ).remove_from_files(SuiteFolder(logs).fork_server_logs())
