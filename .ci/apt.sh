# Sourced by the scripts beside it: speaking, and installing Debian packages where this user may.

say() { printf '[setup] %s\n' "$*" >&2; }

# Install the named packages, as root and with apt. Any failure is shown and left to the caller's next look.
apt_install() {
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        return
    fi
    say "installing with apt: $*"
    local log=.venv.apt.log
    if (timeout 300 apt-get update && DEBIAN_FRONTEND=noninteractive timeout 900 apt-get install -y --no-install-recommends "$@") </dev/null >$log 2>&1; then
        rm $log
    else
        tail -n 5 $log >&2
    fi
}
