"""Environment variables that coldwarm sets for the processes of a start."""

TOKEN_VARIABLE = "COLDWARM_START"
"""Marks every process of a start."""
REQUEST_VARIABLE = "COLDWARM_REQUEST"
"""The path of the start's `StartRequest`."""
PROGRESS_VARIABLE = "COLDWARM_PROGRESS"
"""The pipe to which a process that runs a rank announces steps: ``PROCESS:DESCRIPTOR`` of the first process."""
