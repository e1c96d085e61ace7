#!/bin/sh
# Exports every new checkpoint of a run: follow.sh PYTHON RUN EXPORT. Ends with the run (its process id is in RUN/pid).
cd "$(dirname "$0")"
while :; do
    kill -0 "$(cat "$2/pid")" 2>/dev/null && over= || over=1
    if [ "$2/checkpoint.pt" -nt "$3/model.safetensors" ]; then
        "$1" export.py "$2/checkpoint.pt" "$3.new" && mkdir -p "$3" && mv -f "$3.new"/* "$3"/ && touch "$3/model.safetensors"
    fi
    [ -n "$over" ] && break
    sleep 60
done
