#!/bin/sh
# Changes the release of a service, and undoes it: on the host alone, so that it also happens when
# nobody is there any more to ask for it. What was served is remembered in ROOT/undo, from before
# the first change until the new release is confirmed.
#
#   change_release.sh remember ROOT UNIT FILE…        before anything is changed
#   change_release.sh switch ROOT RELEASE SECONDS     back by itself if not confirmed by then
#   change_release.sh confirm ROOT RELEASE KEEP       it serves: forget the way back, and old releases
#   change_release.sh back ROOT [REASON]              to what was served
set -eu
action=$1
cd "$2"
exec 9>>.lock
flock 9

# Beside the link and over it: there is no moment without.
point() {
    rm -f "$1.new"
    ln -s "$2" "$1.new"
    mv --no-target-directory "$1.new" "$1"
}

stop_timer() {
    systemctl stop "$1-undo.timer" 2>/dev/null || true
}

case $action in
remember)
    unit=$3
    shift 3
    stop_timer "$unit"
    # Of a change that nobody has confirmed, what was there before counts.
    [ ! -d undo ] || exit 0
    # The first release has none to go back to.
    [ -L current ] || exit 0
    rm -rf undo.new
    mkdir -m 0700 undo.new
    cp -P current undo.new/current
    if [ -L previous ]; then cp -P previous undo.new/previous; fi
    echo "$unit" >undo.new/unit
    mkdir undo.new/files
    for file; do
        if [ -e "$file" ]; then
            cp --archive --parents "$file" undo.new/files
        else
            echo "$file" >>undo.new/absent
        fi
    done
    mv undo.new undo
    ;;
switch)
    release=releases/$3
    if [ -d undo ]; then
        unit=$(cat undo/unit)
        stop_timer "$unit"
        systemd-run --quiet --collect --unit="$unit-undo" --on-active="$4" \
            --timer-property=AccuracySec=1s -- "$PWD/change_release.sh" back "$PWD"
        if [ "$(readlink undo/current)" != "$release" ]; then
            point previous "$(readlink undo/current)"
        elif [ -L undo/previous ]; then
            point previous "$(readlink undo/previous)"
        fi
    fi
    point current "$release"
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
        ls -td releases/*/.served | head -n "$keep" | xargs -n 1 dirname
        for directory in $(ls -td releases/*); do
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
back)
    [ -d undo ] || exit 0
    unit=$(cat undo/unit)
    stop_timer "$unit"
    failed=$(readlink current)
    socket=/etc/systemd/system/$unit.socket
    before=$(cksum <"$socket")
    # What is as it was is not written: a socket whose unit looks new is restarted by the next run,
    # and those who wait at it are turned away.
    find undo/files -type f -printf '%P\n' | while read -r file; do
        cmp --quiet "undo/files/$file" "/$file" ||
            cp --archive --remove-destination "undo/files/$file" "/$file"
    done
    if [ -e undo/absent ]; then xargs rm -f <undo/absent; fi
    if [ -L undo/previous ]; then point previous "$(readlink undo/previous)"; else rm -f previous; fi
    point current "$(readlink undo/current)"
    systemctl daemon-reload
    if [ "$failed" != "$(readlink current)" ]; then
        echo "${3:-nobody confirmed it in time}" >"$failed/.failed"
        if [ "$before" != "$(cksum <"$socket")" ]; then systemctl restart "$unit.socket"; fi
        systemctl restart "$unit.service"
        systemctl reload-or-restart nginx.service
    fi
    rm -rf undo
    ;;
esac
