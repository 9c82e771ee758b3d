# Sourced by the other scripts: installs from the lock into .venv; once installed, no network is needed.
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
export UV_PYTHON_DOWNLOADS=never
unset VIRTUAL_ENV UV_PROJECT_ENVIRONMENT
# Container images set it; each process of the suite would then compile PyTorch and TensorFlow again.
unset PYTHONDONTWRITEBYTECODE

# The first Python that pyproject.toml admits; its real path, because `python` may be a shim.
find_python() {
    for python in python3 python3.13 python3.12 python3.11; do
        if "$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
            2>/dev/null; then
            "$python" -c 'import sys; print(sys.executable)'
            return
        fi
    done
    echo "Python 3.11, 3.12 or 3.13 is needed and none was found on PATH" >&2
    return 1
}

# The machine's uv, or one in a private environment, .uv.
find_uv() {
    if command -v uv >/dev/null 2>&1; then
        command -v uv
        return
    fi
    if [ ! -x .uv/bin/uv ]; then
        echo "installing uv into .uv ..." >&2
        rm -rf .uv
        if ! { "$1" -m venv .uv && .uv/bin/python -m pip install --quiet 'uv>=0.9'; } >&2; then
            rm -rf .uv
            echo "uv could not be installed; it needs PyPI and Python's venv module" >&2
            return 1
        fi
    fi
    echo "$root/.uv/bin/uv"
}

# Whether .venv holds a copy of this project instead of a link: `pip install .` without -e writes one,
# and edits of the checkout then change nothing.
is_copied() {
    ls -d .venv/lib/python3.*/site-packages/resnet_parity >/dev/null 2>&1
}

# install OPTION...: installs by `uv sync OPTION...`, unless the same options were installed before:
# .venv/installed holds the checksum of the lock, then a line per set of options.
install() {
    cd "$root"
    lock=$(cat pyproject.toml uv.lock | cksum)
    if [ "$(head -n 1 .venv/installed 2>/dev/null)" != "$lock" ] || is_copied; then
        rm -f .venv/installed
    fi
    if ! grep -qxF -- "$*" .venv/installed 2>/dev/null; then
        python=$(find_python)
        uv=$(find_uv "$python")
        size=
        case " $* " in *" --extra "* | *" --all-extras "*) size=" (several GB the first time)" ;; esac
        echo "installing into .venv$size ..." >&2
        [ -x .venv/bin/python ] || "$uv" venv --quiet --seed --python "$python" --clear .venv
        "$uv" sync --frozen --inexact --compile-bytecode --python .venv/bin/python "$@"
        [ -f .venv/installed ] || echo "$lock" >.venv/installed
        echo "$*" >>.venv/installed
    fi
    cd "$OLDPWD"
    PATH="$root/.venv/bin:$PATH"
    export PATH
}
