#!/bin/sh
# Lets the chains of others accept what the site's services need: each leads to a chain of the site's, beside
# it in its table, before it refuses all that it does not name. What it refuses by name stays refused. The
# site's rules say which chains, and what is in the site's.
# usage: autobot-openings open     after the site's rules were loaded
#        autobot-openings close    takes out of all tables what is the site's
#        autobot-openings verify   ends with 1 where a chain has no jump
set -eu
rules=/etc/autobot-users/nftables.conf
own=autobot-users

# FAMILY TABLE CHAIN, a line each.
wanted() { sed -n 's/^# Opened: //p' "$rules"; }

jumps() { nft list chain "$1" "$2" "$3" | grep -q "jump $own\$"; }

case ${1-} in
open)
    wanted | while read -r family table chain; do
        ! jumps "$family" "$table" "$chain" || continue
        # Its last rule may refuse all, as its policy may.
        before=$(nft --handle list chain "$family" "$table" "$chain" | grep '# handle [0-9]*$' | tail -n 1 |
            sed -En 's/^\s*(counter packets [0-9]+ bytes [0-9]+ |log .*)?(drop|reject.*) # handle ([0-9]+)$/\3/p')
        if [ "$before" ]; then
            nft insert rule "$family" "$table" "$chain" position "$before" jump "$own"
        else
            nft add rule "$family" "$table" "$chain" jump "$own"
        fi
    done
    ;;
close)
    nft --handle list ruleset |
        awk -v jump="jump $own # handle" '
            /^table/ { table = $2 " " $3 }
            /^\tchain/ { chain = $2 }
            index($0, jump) { print table, chain, $NF }' |
        while read -r family table chain handle; do
            nft delete rule "$family" "$table" "$chain" handle "$handle"
        done
    nft list chains |
        awk -v own="$own" '/^table/ { table = $2 " " $3 } $1 == "chain" && $2 == own { print table }' |
        while read -r family table; do
            nft delete chain "$family" "$table" "$own"
        done
    ;;
verify)
    wanted | while read -r family table chain; do
        jumps "$family" "$table" "$chain" || exit 1
    done
    ;;
*)
    echo "usage: autobot-openings open | close | verify" >&2
    exit 2
    ;;
esac
