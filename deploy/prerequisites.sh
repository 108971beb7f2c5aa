#!/bin/sh
# Says what is missing on this machine and how to get it, before anything is downloaded.
# Usage: prerequisites.sh [python PYTHON] [broker] [database] [browser]
set -u
missing=0

lacks() {
    echo "missing: $1" >&2
    echo "    apt-get install $2" >&2
    missing=1
}

has_postgres() {
    command -v postgres >/dev/null || ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1
}

while [ $# -gt 0 ]; do
    case $1 in
        python)
            shift
            "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
                || lacks "Python 3.11 or later (found: $("$1" --version 2>&1))" python3
            "$1" -c 'import ensurepip, venv' 2>/dev/null || lacks "Python's venv module" python3-venv
            ;;
        broker)
            java -version 2>&1 | awk -F '"' '/version/ {split($2, v, "."); ok = (v[1] >= 17)} END {exit !ok}' \
                || lacks "Java 17 or later, for Apache Kafka" openjdk-17-jre-headless
            command -v mvn >/dev/null || lacks "Maven, which brings Apache Kafka" maven
            ;;
        database)
            has_postgres || lacks "PostgreSQL's server, which the ledger is tested on" postgresql
            ;;
        browser)
            command -v chromium >/dev/null || lacks "Chromium, which the review desk is tested in" chromium
            ;;
        *)
            echo "prerequisites.sh: what is '$1'?" >&2
            exit 2
            ;;
    esac
    shift
done
exit $missing
