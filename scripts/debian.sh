# shellcheck shell=bash
# shellcheck disable=SC2154 # steps.sh sets cache
# Packages from Debian, by an apt of our own: its lists, state and cache are below $cache, and the system's apt configuration stays
# as it is. apt verifies all that it fetches. Source steps.sh first.

debian_keyring=/usr/share/keyrings/debian-archive-keyring.gpg

os_release() { (
    . /etc/os-release
    printf '%s\n' "${!1:-}"
); }

# apt_sources FILTER...: the sources with a component main that the system's apt has, one "URI SUITE" a line. Filters are those of
# apt-get indextargets.
apt_sources() {
    # shellcheck disable=SC2016 # apt's own variables
    apt-get indextargets --format '$(REPO_URI) $(RELEASE)' 'Created-By: Packages' 'Component: main' "$@" | sort -u
}

# The Debian mirror in use here, without a slash at its end.
debian_mirror() {
    if [ -n "${BULKHEAD_DEBIAN_MIRROR:-}" ]; then
        printf '%s\n' "${BULKHEAD_DEBIAN_MIRROR%/}"
        return
    fi
    [ "$(os_release ID)" = debian ] ||
        die "this system is no Debian: say where a Debian mirror is with BULKHEAD_DEBIAN_MIRROR=URI"
    local mirror
    mirror=$(apt_sources 'Origin: Debian' 'Label: Debian' | awk '{ print $1; exit }')
    # As long as apt has fetched no lists, only names tell which source is Debian's.
    [ -n "$mirror" ] || mirror=$(apt_sources --no-release-info | awk -v codename="$(os_release VERSION_CODENAME)" \
        '$1 ~ /debian/ && ($2 == codename || $2 ~ /^((old)?stable|testing|unstable|sid)$/) { print $1; exit }')
    [ -n "$mirror" ] || die "apt is configured with no Debian release; say where a mirror is with BULKHEAD_DEBIAN_MIRROR=URI"
    printf '%s\n' "${mirror%/}"
}

# write_apt_conf DIR LINE...: configuration of an apt whose lists and sources are in DIR.
write_apt_conf() {
    local dir=$1
    shift
    mkdir -p "$dir/lists/partial" "$dir/archives/partial"
    printf '%s\n' "Dir::Etc::sourcelist \"$dir/sources.list\";" 'Dir::Etc::sourceparts "-";' \
        "Dir::State::lists \"$dir/lists\";" "Dir::Cache::archives \"$dir/archives\";" 'Dir::Cache::pkgcache "";' \
        'Dir::Cache::srcpkgcache "";' 'APT::Sandbox::User "root";' 'Acquire::Languages "none";' \
        'Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";' "$@" >"$dir/apt.conf"
}

# --- arm64 packages for guests, and packages for any architecture --------------------------------------------------------------

# The suites and components that the lists are of. The board firmware of Debian 13 knows Raspberry Pis that came after Debian 12's.
debian_suites='bookworm main
bookworm-backports main
trixie-backports main
trixie non-free-firmware'

guest_apt() { APT_CONFIG=$cache/apt/apt.conf "$@"; }

# debian_lists: the package lists are there, complete, and of all suites.
debian_lists() { [ "$(cat "$cache/apt/complete" 2>/dev/null)" = "$debian_suites" ] || debian_update; }

debian_update() {
    have apt-get || die "there is no apt here: guests and library sources are Debian packages"
    [ -e "$debian_keyring" ] || die "$debian_keyring is missing: install debian-archive-keyring"
    local dir=$cache/apt mirror suite
    rm -rf "$dir/lists" "$dir/complete"
    mirror=$(debian_mirror)
    write_apt_conf "$dir" "Dir::State::status \"$dir/status\";" 'APT::Architecture "arm64";' 'APT::Architectures { "arm64"; };'
    : >"$dir/status"
    while read -r suite; do
        printf 'deb [signed-by=%s] %s %s\n' "$debian_keyring" "$mirror" "$suite"
    done <<<"$debian_suites" >"$dir/sources.list"
    say "fetching Debian's package lists"
    guest_apt apt-get update --error-on=any >&2 || die "the package lists could not be fetched"
    printf '%s\n' "$debian_suites" >"$dir/complete"
}

# debian_resolve REGEX: "NAME VERSION" of the newest listed package whose whole name matches REGEX; fails if there is none.
debian_resolve() {
    local name version
    name=$(guest_apt apt-cache pkgnames | grep -Ex "$1" | sort -V | tail -n 1) || return 1
    version=$(guest_apt apt-cache madison "$name" | awk '$NF == "Packages" { print $3 }' | sort -V | tail -n 1)
    [ -n "$version" ] || return 1
    printf '%s %s\n' "$name" "$version"
}

# debian_fetch REGEX [VERSION]: fetches the newest such package into the cache. Its file is in $package, its version in
# $package_version. Lists that name what the mirror no longer has are renewed once. Fails if no list has such a package.
debian_fetch() {
    local found name
    for _ in fresh renewed; do
        debian_lists
        if [ $# -eq 2 ]; then found="$1 $2"; else found=$(debian_resolve "$1") || return 1; fi
        read -r name package_version <<<"$found"
        debian_download "$name" "$package_version" && return
        rm -f "$cache/apt/complete"
    done
    die "$name $package_version could not be fetched"
}

cached_package() { find "$cache" -maxdepth 1 -name "$1_${2//:/%3a}_*.deb" -print -quit; }

debian_download() {
    package=$(cached_package "$1" "$2")
    [ -z "$package" ] || return 0
    say "fetching $1 $2"
    local dir=$cache/partial.$$
    mkdir -p "$dir"
    if (cd "$dir" && guest_apt apt-get download "$1=$2" >&2); then
        mv "$dir"/*.deb "$cache/"
        package=$(cached_package "$1" "$2")
    fi
    rm -rf "$dir"
    [ -n "$package" ]
}

# --- Packages for this machine -------------------------------------------------------------------------------------------------

# host_apt WORD...: apt-get for this machine; on bookworm it knows the backports too.
host_apt() {
    local environment=(env DEBIAN_FRONTEND=noninteractive)
    [ -z "${host_apt_conf:-}" ] || environment+=("APT_CONFIG=$host_apt_conf")
    as_root "${environment[@]}" apt-get -y "$@" >&2
}

host_update() {
    have apt-get || return 1
    if [ "$(os_release VERSION_CODENAME)" = bookworm ]; then
        local dir=$cache/apt-host mirror uri suite
        mirror=$(debian_mirror)
        write_apt_conf "$dir"
        {
            printf '%s\n' "$mirror bookworm" "$mirror bookworm-updates" "$mirror bookworm-backports"
            apt_sources --no-release-info | awk '$2 == "bookworm-security"' # packages that are installed may come from there
        } | while read -r uri suite; do
            printf 'deb [signed-by=%s] %s %s main\n' "$debian_keyring" "$uri" "$suite"
        done >"$dir/sources.list"
        host_apt_conf=$dir/apt.conf
    fi
    host_apt update
}

# host_install PACKAGE...
host_install() {
    local suite=()
    [ -z "${host_apt_conf:-}" ] || suite=(-t bookworm-backports)
    host_apt install --no-install-recommends "${suite[@]}" "$@" || return
    [ -z "${host_apt_conf:-}" ] || as_root chown --recursive --reference="$root" "$cache/apt-host"
}
