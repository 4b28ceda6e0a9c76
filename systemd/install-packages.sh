#!/bin/sh
# Installs the system libraries that are missing, where apt exists and may be used; says what is missing otherwise.
# With "tests": also the programs that tests compare with.
set -u
missing=""
lean="" # without what they recommend
has() { ldconfig -p 2>/dev/null | grep -q "$1"; }
[ "$(uname -s)" = Linux ] || exit 0
has libturbojpeg.so.0 || missing="$missing libturbojpeg0"
has libGL.so.1 || missing="$missing libgl1"
has libglib-2.0.so.0 || missing="$missing libglib2.0-0"
if [ "${1:-}" = tests ]; then
    command -v exiftool >/dev/null 2>&1 || missing="$missing libimage-exiftool-perl"
    command -v tiffcp >/dev/null 2>&1 || missing="$missing libtiff-tools"
    command -v chromium >/dev/null 2>&1 || lean="chromium"
    # The cluster's tests start servers of their own; only its programs are wanted.
    command -v initdb >/dev/null 2>&1 || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || lean="$lean postgresql"
fi
[ -z "$missing$lean" ] && exit 0
install_all() {
    # shellcheck disable=SC2086 # one word a package
    { [ -z "$missing" ] || $sudo apt-get install -y -qq $missing; } \
        && { [ -z "$lean" ] || $sudo apt-get install -y -qq --no-install-recommends $lean; }
}
sudo=""
[ "$(id -u)" = 0 ] || sudo="sudo -n"
if command -v apt-get >/dev/null 2>&1 && $sudo true 2>/dev/null; then
    { install_all || { $sudo apt-get update -qq && install_all; }; } >/dev/null 2>&1 && exit 0
fi
echo "Please install:$missing $lean (spotlessd runs without libturbojpeg0, but then refuses to write JPEG scans; tests skip what they miss)." >&2
exit 0
