#!/bin/sh
# Changes what the services of a host run with, their release and their files, and undoes it: on the host
# alone, so that it also happens when nobody is there any more to ask for it. What they are to run with
# is written to ROOT/next, and taken over by the switch. What they ran with is in ROOT/undo, from before
# the first change until the new one is confirmed. In both there is
#   files/    the files, by their paths
#   absent    paths of files that are not there, one a line
#
#   change_release.sh switch ROOT "UNIT…" RELEASE SECONDS   back by itself if not confirmed by then
#   change_release.sh confirm ROOT RELEASE KEEP             it serves: forget the way back, and old releases
#   change_release.sh back ROOT [REASON]                    to what served
#   change_release.sh boot ROOT                             the same, before the services are started
set -eu
action=$1
cd "$2"
exec 9>>.lock
flock 9
changed=

# Beside the link and over it: there is no moment without.
point() {
    [ "$(readlink "$1")" != "$2" ] || return 0
    rm -f "$1.new"
    ln -s "$2" "$1.new"
    mv --no-target-directory "$1.new" "$1"
    changed=yes
}

copy() {
    mkdir -p "$(dirname "$2")"
    cp --archive --no-dereference "$1" "$2.autobot-new"
    mv --no-target-directory "$2.autobot-new" "$2"
}

# A link that leads nowhere is there, too.
is_there() {
    [ -e "$1" ] || [ -L "$1" ]
}

is_same() {
    cmp --quiet "$1" "$2" && [ "$(stat --format='%a %u %g' "$1")" = "$(stat --format='%a %u %g' "$2")" ]
}

# The paths that a directory names: files, and files that are not there.
paths() {
    if [ -d "$1/files" ]; then find "$1/files" -type f,l -printf '/%P\n'; fi
    absent "$1"
}

absent() {
    if [ -e "$1/absent" ]; then cat "$1/absent"; fi
}

# Brings the files to what a directory has. What is so already is not written: a socket whose unit
# looks new is restarted, and those who wait at it are turned away.
take() {
    paths "$1" >.paths
    while read -r path; do
        if is_there "$1/files$path"; then
            if ! is_same "$1/files$path" "$path"; then
                copy "$1/files$path" "$path"
                changed=yes
            fi
        elif is_there "$path"; then
            rm -f "$path"
            changed=yes
        fi
    done <.paths
    rm -f .paths
}

# Of a change that nobody has confirmed, what was there before counts.
remember() {
    undo=undo
    if [ ! -d undo ]; then
        undo=undo.new
        rm -rf undo.new
        mkdir -m 0700 undo.new
        if [ -L current ]; then cp -P current undo.new/current; fi
        if [ -L previous ]; then cp -P previous undo.new/previous; fi
        echo "$units" >undo.new/unit
    fi
    paths next >.paths
    while read -r path; do
        if is_there "$undo/files$path" || absent "$undo" | grep -qxF "$path"; then
            continue
        elif is_there "$path"; then
            copy "$path" "$undo/files$path"
        else
            echo "$path" >>"$undo/absent"
        fi
    done <.paths
    rm -f .paths
    [ "$undo" = undo ] || mv undo.new undo
}

# What find finds among the releases, the newest first.
newest() {
    find releases "$@" -printf '%T@ %p\n' | LC_ALL=C sort --numeric-sort --reverse | cut -d ' ' -f 2
}

# The first of the units has the timer, and the unit that goes back at boot.
stop_timer() {
    systemctl stop "${1%% *}-undo.timer" 2>/dev/null || true
}

# The sockets of the units as they are, a line each.
sockets() {
    for unit in $1; do
        echo "$unit $(cksum <"/etc/systemd/system/$unit.socket" 2>/dev/null)"
    done
}

case $action in
switch)
    units=$3 release=releases/$4
    # The first release has none to go back to, unless it takes the place of what others had.
    if [ -L current ] || [ -s next/absent ]; then
        remember
        stop_timer "$units"
        # A timer does not outlive a reboot; this undoes what nobody has confirmed until then.
        systemctl enable --quiet "${units%% *}-boot.service"
        systemd-run --quiet --collect --unit="${units%% *}-undo" --on-active="$5" \
            --timer-property=AccuracySec=1s -- "$PWD/change_release.sh" back "$PWD"
        if [ ! -L undo/current ]; then
            :
        elif [ "$(readlink undo/current)" != "$release" ]; then
            point previous "$(readlink undo/current)"
        elif [ -L undo/previous ]; then
            point previous "$(readlink undo/previous)"
        fi
    fi
    take next
    point current "$release"
    rm -rf next
    ;;
confirm)
    release=releases/$3 keep=$4
    if [ "$(readlink current)" != "$release" ]; then
        echo "The host went back to $(basename "$(readlink current)") by itself: nobody confirmed" \
            "$3 in time." >&2
        exit 1
    fi
    if [ -d undo ]; then
        stop_timer "$(cat undo/unit)"
        rm -rf undo
    fi
    touch "$release/.served"
    rm -f "$release/.failed"
    # Those that served last, the one to go back to in any case, and the newest of the others.
    {
        readlink previous || true
        newest -mindepth 2 -maxdepth 2 -name .served | head -n "$keep" | xargs -n 1 dirname
        newest -mindepth 1 -maxdepth 1 -name '[!.]*' | while read -r directory; do
            [ -e "$directory/.served" ] || echo "$directory"
        done | head -n 1
    } >.kept
    for directory in releases/*; do
        if ! grep -qxF "$directory" .kept; then
            # Without its marker it is none, should this be interrupted.
            rm -f "$directory/.complete"
            rm -rf "$directory"
        fi
    done
    rm -f .kept
    ;;
back | boot)
    # Whoever has a reason has written it. Of the timer a new run may have written the next one already.
    if [ -n "${3:-}" ]; then rm -rf next; fi
    [ -d undo ] || exit 0
    units=$(cat undo/unit)
    stop_timer "$units"
    failed=$(readlink current)
    before=$(sockets "$units")
    # With a gateway each has another beside it, for WebSockets.
    for unit in $units; do
        if [ -e "/etc/systemd/system/$unit-relay.service" ]; then units="$units $unit-relay"; fi
    done
    take undo
    if [ -L undo/previous ]; then point previous "$(readlink undo/previous)"; else rm -f previous; fi
    if [ -L undo/current ]; then point current "$(readlink undo/current)"; else rm -f current; fi
    systemctl daemon-reload
    if [ "$failed" != "$(readlink current || true)" ]; then
        echo "${3:-nobody confirmed it in time}" >"$failed/.failed"
    fi
    # At boot nothing runs yet.
    if [ "$action" = back ] && { [ -n "$changed" ] || [ -e undo/restart ]; }; then
        # What does not restart now is owed to the next attempt, and keeps nothing else from it.
        touch undo/restart
        owed=
        for unit in $units; do
            # A service that the change has brought is gone again.
            if [ ! -e "/etc/systemd/system/$unit.service" ]; then
                systemctl stop "$unit.socket" "$unit.service" || true
                continue
            fi
            if ! echo "$before" | grep -qxF "$(sockets "$unit")"; then
                systemctl restart "$unit.socket" || owed=yes
            fi
            systemctl restart "$unit.service" || owed=yes
        done
        systemctl reload-or-restart nginx.service || owed=yes
        [ -z "$owed" ] || exit 1
    fi
    rm -rf undo
    ;;
esac
