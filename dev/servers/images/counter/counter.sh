#!/bin/sh
# Prints numbered lines, COUNT of them (for ever when it is not set), INTERVAL seconds apart, then waits.
trap 'exit 0' TERM INT
n=0
while [ -z "$COUNT" ] || [ "$n" -lt "$COUNT" ]; do
  n=$((n + 1))
  echo "line $n"
  case ${INTERVAL:=1} in 0) ;; *) sleep "$INTERVAL" & wait $! ;; esac
done
while :; do sleep 3600 & wait $!; done
