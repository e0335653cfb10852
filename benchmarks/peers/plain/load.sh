#!/usr/bin/env bash
# The plain stack: tap | target, then a snapshot of the table, and the last state for the next time.
set -euo pipefail
url=$1 folder=$2 here=$(cd "$(dirname "$0")" && pwd)
bin=$here/../../../.venvs/bench-plain/bin

cat >"$folder/tap.json" <<<"{\"api_url\": \"$url\"}"
cat >"$folder/target.json" <<<"{\"filepath\": \"$folder/patients.duckdb\", \"default_target_schema\": \"raw\"}"
touch "$folder/state.json"
state=()
[ -s "$folder/state.json" ] && state=(--state "$folder/state.json")
"$bin/python" "$here/tap_patients.py" --config "$folder/tap.json" "${state[@]}" |
  "$bin/target-duckdb" --config "$folder/target.json" >"$folder/states"
tail -n 1 "$folder/states" >"$folder/state.new"
[ -s "$folder/state.new" ] && mv "$folder/state.new" "$folder/state.json"

export DUCKDB_PATH=$folder/patients.duckdb DBT_LOG_PATH=$folder/logs DBT_TARGET_PATH=$folder/target TZ=UTC
export DBT_SEND_ANONYMOUS_USAGE_STATS=false
"$bin/dbt" snapshot --project-dir "$here" --profiles-dir "$here"
