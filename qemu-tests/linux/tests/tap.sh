# shellcheck shell=sh
# TAP lines that begin with @HOST@: see qemu-tests/src/tap.rs.
host=$(hostname)
dmesg -n 1 # a line of the kernel's would stand in the middle of one of ours
results=0

say() { echo "@$host@ $*"; }

# check DESCRIPTION COMMAND...: one result; what the command prints becomes a note if it fails.
check() {
    description=$1
    shift
    results=$((results + 1))
    if said=$("$@" 2>&1); then
        say "ok $results - $description"
    else
        say "# $description: $(echo "$said" | tr '\n' '|')"
        say "not ok $results - $description"
    fi
}

finish() {
    say "1..$results"
    results=0
}

# parameter NAME: its value on the kernel command line.
parameter() {
    # shellcheck disable=SC2013 # words are wanted
    for word in $(cat /proc/cmdline); do
        case $word in "$1="*) echo "${word#*=}" ;; esac
    done
}
