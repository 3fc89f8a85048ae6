"""Whether .venv can be made here. Prints one line and exits with 1 when something is missing.

Any Python can read this file, also one that is too old for the package: that is the first thing it checks.
"""

import importlib
import os
import shutil
import sys

OLDEST = (3, 11)
ROOM = 1.8  # GB: what .venv takes with torch's build for CPUs, and a little


def problem(venv):
    """What keeps ``venv``, a directory that need not exist yet, from being made or completed: a sentence, or None."""
    if tuple(sys.version_info[:2]) < OLDEST:
        version = ".".join(str(part) for part in sys.version_info[:3])
        return "Python 3.11 or newer is needed, " + sys.executable + " is " + version + ": name another (PYTHON=python3.11)"
    try:
        importlib.import_module("venv")
        importlib.import_module("ensurepip")
    except ImportError:
        return sys.executable + " has no venv module: install it (on Debian and Ubuntu: apt-get install python3-venv)"
    free = shutil.disk_usage(os.path.dirname(os.path.realpath(venv))).free / 1e9
    if free + size(venv) < ROOM:
        return "no room for " + venv + ": it takes " + str(ROOM) + " GB, and " + str(round(free, 1)) + " GB are free"
    return None


def size(directory):
    """GB in the files below ``directory``; 0 when it does not exist."""
    paths = (os.path.join(folder, name) for folder, _, names in os.walk(directory) for name in names)
    return sum(os.lstat(path).st_size for path in paths) / 1e9


if __name__ == "__main__":
    found = problem(sys.argv[1])
    if found:
        sys.exit("error: " + found)
