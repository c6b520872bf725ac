# shellcheck shell=bash
# shellcheck disable=SC2034 # the variables are for the scripts
# What all scripts share. Source it first:  . "$(dirname "${BASH_SOURCE[0]}")/steps.sh"

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=$root/build
guests=$build/guests
cache=$(realpath -m "${BULKHEAD_CACHE:-$build/cache}") # package lists and packages; several checkouts may share one
rust_target=aarch64-unknown-none-softfloat
qemu_least=9 # the first major version with the raspi4b machine
PATH=$PATH:/usr/sbin:/sbin # sfdisk and mkfs.fat, which need no root, are there
unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS CARGO_BUILD_TARGET # they would take the place of what .cargo/config.toml says

# Messages go to stderr: stdout is for what a script was asked to print.
say() { printf '==> %s\n' "$*" >&2; }
warn() { printf '%s: warning: %s\n' "${0##*/}" "$*" >&2; }
die() {
    printf '%s: error: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

# For mistakes in the command line: status 2 and a pointer to the help.
misuse() {
    printf '%s: %s\nTry: %s --help\n' "${0##*/}" "$*" "$0" >&2
    exit 2
}

# option_value "$@": the value that belongs to the option $1, which is $2.
option_value() {
    [ $# -ge 2 ] || misuse "$1 needs a value"
    printf '%s\n' "$2"
}

have() { command -v "$1" >/dev/null 2>&1; }

as_root() {
    if [ "$EUID" -eq 0 ]; then
        "$@"
    elif have sudo; then
        sudo "$@"
    else
        die "this needs root, and there is no sudo. Run once as root: $root/scripts/setup --tools"
    fi
}

# One process at a time may set up this checkout. The lock ends with the script. The directory belongs to the checkout's
# owner even if root comes first.
lock_build() {
    [ -d "$build" ] || { mkdir "$build" && chown --reference="$root" "$build"; }
    exec 9<"$build"
    flock --nonblock 9 && return
    say "waiting for another setup of this checkout"
    flock 9
}

# scratch NAME: an empty directory below build/ for half-made results; its name is in $scratch, and it goes when the script ends.
scratch() {
    scratch=$build/tmp/$1.$$
    rm -rf "$scratch"
    mkdir -p "$scratch"
    trap 'rm -rf "$build/tmp/"*.$$ "$cache/partial.$$"' EXIT
}

# --- QEMU ---------------------------------------------------------------------------------------------------------------------

qemu_major() { qemu-system-aarch64 --version 2>/dev/null | sed -n '1s/.*version \([0-9]*\).*/\1/p'; }

qemu_is_new_enough() {
    have qemu-system-aarch64 || return 1
    local major
    major=$(qemu_major)
    [ -n "$major" ] && [ "$major" -ge "$qemu_least" ]
}

# qemu_virt GIC CPU CPUS MEMORY: puts the command line of a board that starts its kernel at EL2 into the array $qemu.
qemu_virt() {
    qemu=(qemu-system-aarch64 -M "virt,virtualization=on,gic-version=$1" -cpu "$2" -smp "$3" -m "$4" -nographic)
}

# qemu_raspi4b DTB: likewise of a Raspberry Pi 4, whose CPUs and memory are fixed. Its console is the first serial line, the PL011.
qemu_raspi4b() {
    qemu=(qemu-system-aarch64 -M raspi4b -display none -serial mon:stdio -dtb "$1")
}

# print_command WORD...: as it would be typed.
print_command() {
    local word line=''
    for word; do
        [[ $word =~ ^[[:alnum:]_./,=:+-]+$ ]] || printf -v word %q "$word"
        line+=" $word"
    done
    printf '%s\n' "${line# }"
}

# --- Images -------------------------------------------------------------------------------------------------------------------

# is_arm64_image FILE: the magic "ARM\x64" stands at offset 56.
is_arm64_image() { [ "$(od -A n -t x1 -j 56 -N 4 "$1" | tr -d ' \n')" = 41524d64 ]; }

size_of() { stat -L -c %s "$1"; }
