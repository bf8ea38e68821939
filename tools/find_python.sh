#!/bin/sh
# find_python.sh VERSION...: print the first Python of these versions (3.12, say) that runs on this machine.
# Looked for on the PATH, then among pyenv's versions.
for version in "$@"; do
    for candidate in "python$version" "${PYENV_ROOT:-$HOME/.pyenv}/versions/$version"*"/bin/python$version"; do
        path=$(command -v "$candidate" 2>/dev/null) || continue
        "$path" -c "import sys, venv; sys.exit('%d.%d' % sys.version_info[:2] != '$version')" >/dev/null 2>&1 || continue
        "$path" -c "import sys; print(sys.executable)"
        exit 0
    done
done
echo "no Python of these versions on the PATH or in pyenv, please install one: $*" >&2
exit 1
