#!/bin/sh
# Ask for a look at the model, once: for cron, a systemd timer, a Kubernetes CronJob or Cloud Scheduler.
#
#   ML_SERVICE_URL      of `gaelp serve`, such as http://127.0.0.1:8080
#   ML_SERVICE_KEY      API key with the scope retrain; or ML_SERVICE_KEY_FILE, the file that holds it
#   DATABASE_URL        without ML_SERVICE_URL: look here, by the `gaelp` command on this machine
#   MODELS_DIR          with DATABASE_URL: registry of models (models)
#   SLACK_WEBHOOK_URL   told of a retraining, a rejection, a rollback and a failure; empty: nobody
#   LOG_FILE            gets a line for each step; empty: standard error only
#   TRIGGER             why: daily, scheduled or manual (daily)
#   TIMEOUT_S           seconds to wait for the answer (300)
#   LOCK_FILE           held while this runs (gaelp_cron_retrain.lock in TMPDIR or /tmp)
#   ZERO_FOR_OK         1: end with 0 after every outcome that is no failure
#
# Exit codes: 0 no retrain needed
#   10 retrained   11 challenger rejected   12 rolled back   13 too little data
#   14 somebody else is retraining   15 this script is running already
#   1 the run failed   2 wrongly set up   3 not reachable   4 timed out   5 refused   6 answer not understood
#
# Needs curl and flock. Keys and addresses with secrets are never on a command line, nor in the log.
set -u
umask 077

service=${ML_SERVICE_URL:-}
slack=${SLACK_WEBHOOK_URL:-}
log_file=${LOG_FILE:-}
trigger=${TRIGGER:-daily}
limit=${TIMEOUT_S:-300}
lock_file=${LOCK_FILE:-${TMPDIR:-/tmp}/gaelp_cron_retrain.lock}
slack_tries=3
shown=$(printf '%s' "$service" | sed 's|//[^/]*@|//|') # without a name and password

say() {
    line="$(date -u +%Y-%m-%dT%H:%M:%SZ) $*"
    printf '%s\n' "$line" >&2
    [ -z "$log_file" ] || printf '%s\n' "$line" >>"$log_file" || log_file=
}

finish() { # CODE WORDS...
    code=$1
    shift
    say "$* (exit $code)"
    [ "${ZERO_FOR_OK:-0}" = 1 ] && [ "$code" -ge 10 ] && exit 0
    exit "$code"
}

tell_slack() { # the text as JSON has it between quotes
    [ -n "$slack" ] || return 0
    text=$(printf '%s' "$1" | sed 's/&/\&amp;/g; s/</\&lt;/g; s/>/\&gt;/g')
    try=1
    while :; do
        printf 'url = "%s"\n' "$slack" | curl --config - --silent --fail --output /dev/null --max-time 10 \
            --header 'Content-Type: application/json' --data "{\"text\":\"$text\"}" && return 0
        if [ "$try" -ge "$slack_tries" ]; then
            say "Slack could not be told after $try tries; that changes nothing else"
            return 0
        fi
        sleep "$try"
        try=$((try + 1))
    done
}

fail() { # CODE WORDS...
    code=$1
    shift
    tell_slack "GAELP, $trigger check on $machine: failed. $(quoted "$*")"
    finish "$code" "failed: $*"
}

quoted() { # as JSON has it between quotes
    printf '%s' "$1" | tr -d '\000-\037' | sed 's/\\/\\\\/g; s/"/\\"/g'
}

field() { # NAME FIRST_OR_LAST: of the reply, as JSON has it between quotes
    grep -oE "\"$1\": ?\"([^\"\\\\]|\\\\.)*\"" "$work/reply" | "$2" -n 1 | sed 's/^[^:]*: *"//; s/"$//'
}

machine=$(quoted "$(hostname 2>/dev/null || echo this machine)")
for program in curl flock; do
    command -v "$program" >/dev/null 2>&1 || finish 2 "$program is not installed"
done
case $limit in '' | *[!0-9]*) finish 2 "TIMEOUT_S must be whole seconds" ;; esac
case $trigger in daily | scheduled | manual) ;; *) finish 2 "TRIGGER must be daily, scheduled or manual" ;; esac
case $service in *[\"\\]*) finish 2 "ML_SERVICE_URL must not hold quotes or backslashes" ;; esac
[ -n "$service" ] || [ -n "${DATABASE_URL:-}" ] || finish 2 "set ML_SERVICE_URL or DATABASE_URL"

exec 9>>"$lock_file" || finish 2 "the lock file $lock_file cannot be written"
flock -n 9 || finish 15 "this script is running already"

work=$(mktemp -d) || finish 2 "no temporary folder can be made"
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

ask_service() {
    key=${ML_SERVICE_KEY:-}
    if [ -z "$key" ] && [ -n "${ML_SERVICE_KEY_FILE:-}" ]; then
        key=$(cat "$ML_SERVICE_KEY_FILE" 2>/dev/null) || finish 2 "ML_SERVICE_KEY_FILE cannot be read"
    fi
    case $key in '' | *[!A-Za-z0-9_-]*) finish 2 "set ML_SERVICE_KEY or ML_SERVICE_KEY_FILE to an API key" ;; esac
    once="cron-$(date -u +%Y%m%dT%H%M%SZ)-$$" # asked again after a lost answer, the service repeats its reply
    http=$(printf 'header = "Authorization: Bearer %s"\nurl = "%s/api/ml/check-retrain"\n' "$key" "${service%/}" |
        curl --config - --silent --show-error \
        --max-time "$limit" --retry 2 --retry-delay 1 --retry-max-time 10 --retry-connrefused \
        --header 'Content-Type: application/json' --header "Idempotency-Key: $once" \
        --data "{\"trigger\":\"$trigger\"}" --output "$work/reply" --write-out '%{http_code}' 2>"$work/errors")
    code=$?
    if [ "$code" -eq 28 ]; then
        fail 4 "no answer within $limit s; a retraining under way goes on"
    elif [ "$code" -ne 0 ]; then
        fail 3 "$shown is not reachable: $(tail -n 1 "$work/errors")"
    fi
    case $http in
    200 | 409) ;;
    4*) fail 5 "$shown refused with HTTP $http: $(head -c 300 "$work/reply")" ;;
    *) fail 6 "$shown answered HTTP $http: $(head -c 300 "$work/reply")" ;;
    esac
}

ask_database() {
    command -v gaelp >/dev/null 2>&1 || finish 2 "without ML_SERVICE_URL, the command gaelp is needed"
    timeout "$limit" gaelp retrain check --trigger "$trigger" --models "${MODELS_DIR:-models}" --json \
        >"$work/reply" 2>"$work/errors" 9>&-
    code=$?
    [ "$code" -ne 124 ] || fail 4 "no answer within $limit s; the run was ended"
    grep -q '"status"' "$work/reply" || fail 6 "gaelp ended with $code: $(tail -n 1 "$work/errors")"
}

say "asking ${shown:-the database} for a $trigger check"
if [ -n "$service" ]; then ask_service; else ask_database; fi

status=$(field status head)
message=$(field message tail)
told="GAELP, $trigger check on $machine: $status. $message"
case $status in
no_retrain_needed) finish 0 "$status: $message" ;;
retrained) tell_slack "$told" && finish 10 "$status: $message" ;;
challenger_rejected) tell_slack "$told" && finish 11 "$status: $message" ;;
rolled_back) tell_slack "$told" && finish 12 "$status: $message" ;;
insufficient_data) finish 13 "$status: $message" ;;
locked) finish 14 "$status: $message" ;;
error) tell_slack "$told" && finish 1 "$status: $message" ;;
*) fail 6 "the answer has no status that is known" ;;
esac
