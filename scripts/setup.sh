#!/bin/sh
# Makes .venv with the pinned dependencies, once; an up-to-date .venv costs a few milliseconds. The Makefile calls it.
#
#   PYTHON=/path/to/python3.12 scripts/setup.sh     to choose the interpreter
#
# Every failure is one line on stderr that says what is missing.
set -u
cd "$(dirname "$0")/.." || exit 1

stamp=.venv/installed
log=.venv/install.log
new_enough='import sys; sys.exit(sys.version_info < (3, 11))'
version='import sys; print("%d.%d.%d" % sys.version_info[:3])'
network_trouble='NewConnectionError|ConnectTimeout|ReadTimeout|connection refused|client error \(connect\)|dns error|NameResolutionError|name resolution|name or service not known|network is unreachable'

die() {
    printf 'error: %s\n' "$1" >&2
    exit 1
}

# The first Python that is new enough and, unless uv makes the environment, has the venv module. A name on the PATH is
# not enough (pyenv leaves stubs of versions that are switched off): each candidate is run.
find_python() {
    too_old='' no_venv=''
    if [ -n "${PYTHON:-}" ]; then set -- "$PYTHON"; else set -- python3.13 python3.12 python3.11 python3; fi
    for candidate in "$@"; do
        found=$("$candidate" -c "$version" 2>/dev/null) || continue
        if ! "$candidate" -c "$new_enough"; then
            too_old="$candidate is $found"
        elif [ -z "$uv" ] && ! "$candidate" -c 'import venv, ensurepip' 2>/dev/null; then
            no_venv="$candidate ($found)"
        else
            python=$candidate
            return
        fi
    done
    [ -z "$no_venv" ] || die "$no_venv has no venv module: install it (Debian, Ubuntu: apt install python3-venv) or install uv"
    [ -z "$too_old" ] || die "Python too old: $too_old, Python >= 3.11 is needed (choose one with make PYTHON=/path/to/python)"
    [ -z "${PYTHON:-}" ] || die "PYTHON=$PYTHON is not a Python that runs, Python >= 3.11 is needed"
    die "no Python found, Python >= 3.11 is needed (choose one with make PYTHON=/path/to/python)"
}

# A .venv that was interrupted while it was made has no working Python in it and is made anew.
make_environment() {
    if found=$(.venv/bin/python -c "$version" 2>/dev/null); then
        .venv/bin/python -c "$new_enough" ||
            die "Python too old: .venv holds $found, Python >= 3.11 is needed (remove .venv and try again)"
        return
    fi
    find_python
    rm -rf .venv
    if [ -n "$uv" ]; then
        message=$(uv venv --quiet --python "$python" .venv 2>&1)
    else
        message=$("$python" -m venv .venv 2>&1)
    fi || {
        rm -rf .venv
        die "could not make .venv with $python: $(printf '%s' "$message" | tail -n 1)"
    }
}

install() {
    if [ -n "$uv" ]; then
        uv pip install --python .venv/bin/python --constraint constraints.txt --editable '.[dev]'
    else
        # An environment made by uv has no pip of its own.
        .venv/bin/python -m pip --version || .venv/bin/python -m ensurepip || return
        .venv/bin/python -m pip install --constraint constraints.txt --editable '.[dev]'
    fi
}

uv=$(command -v uv || true)
# The folder is part of the stamp, because an editable install points to it: a copied or moved tree installs again.
wanted="$PWD $(cksum pyproject.toml constraints.txt)" || die "pyproject.toml or constraints.txt is missing"
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ] && .venv/bin/python -c '' 2>/dev/null; then
    exit 0
fi

make_environment
rm -f "$stamp"
if [ -n "$uv" ]; then tool=uv; else tool=pip; fi
echo "installing the dependencies into .venv with $tool, which takes a minute or two; log in $log"
if ! install >"$log" 2>&1; then
    if grep -qiE "$network_trouble" "$log"; then
        die "no network: the package index could not be reached, see $log"
    fi
    die "the installation failed, see $log"
fi
printf '%s\n' "$wanted" >"$stamp"
