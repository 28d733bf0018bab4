"""The tests.

They start hundreds of Python processes, so they have Python keep bytecode (``__pycache__``) also if the environment
disables that: otherwise each process compiles coldwarm from source, and pytest rewrites all assertions at every call.
"""

import os
import sys

sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
