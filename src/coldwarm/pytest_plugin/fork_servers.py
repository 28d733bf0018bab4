"""Fork servers that all tests of a pytest process share, so that the engine is imported only once."""

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
    """Return the fork servers of this pytest process; new ones if there are none, or if an aborted test closed them.

    They end with the pytest process. None in a process that was forked for a single test, which could not end them.

    Args:
        config: The configuration of this process.
        logs: The folder for the logs of new fork servers.
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
        # Called in reverse order: the servers are closed first.
        ended_with_pytest.callback(_remove_secrets, logs)
        ended_with_pytest.callback(servers.close)
        config.stash[_SHARED] = servers
    return servers


def _remove_secrets(logs: Path) -> None:
    Secrets(os.environ).remove_from_files(SuiteFolder(logs).fork_server_logs())
