# shellcheck shell=bash
# What the scripts here have in common: they source it. It sees to it that Rust and a C compiler are there.

# The last words of a script that cannot go on.
fail() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

# Everything that compiles needs these two; the second is for the cryptography library and for LMDB.
need_compilers() {
    command -v cargo >/dev/null ||
        fail 'cargo is not installed: get Rust from https://rustup.rs, then run this again'
    command -v "${CC:-cc}" >/dev/null && return
    printf 'There is no C compiler; installing one.\n'
    install_package apt-get install -y build-essential ||
        install_package dnf install -y gcc ||
        install_package zypper --non-interactive install gcc ||
        install_package pacman -S --noconfirm gcc ||
        install_package apk add gcc musl-dev ||
        true
    command -v "${CC:-cc}" >/dev/null ||
        fail 'a C compiler is needed and could not be installed: install gcc or clang, then run this again'
}

# build ARGUMENT…: with Cargo's progress where somebody watches, for the first build takes minutes.
build() {
    local quiet=(--quiet)
    [[ ! -t 2 ]] || quiet=()
    cargo build ${quiet[@]+"${quiet[@]}"} "$@" || fail 'the build failed; what is wrong stands above'
}

# install_package MANAGER ARGUMENT…: with this package manager, if it is the system's, and if root's rights
# are to be had without asking for a password.
install_package() {
    command -v "$1" >/dev/null || return 1
    local as_root=()
    [[ $EUID -eq 0 ]] || as_root=(sudo -n)
    [[ $1 != apt-get ]] || ${as_root[@]+"${as_root[@]}"} apt-get update || true
    ${as_root[@]+"${as_root[@]}"} "$@"
}
