#!/bin/sh
# The main job, end to end, with the commands that a user types: tune a gluoncv model on this machine, merge,
# release, serve, fetch, and measure what the fetched records gain. Takes a few minutes; leaves nothing behind.
set -eu
unset TOPHUB_LOCATION
cd "$(dirname "$0")/.."
repository=$PWD
model=${1:-cifar_resnet20_v1}
trials=${TRIALS:-400}

work=$(mktemp -d)
server=
finish() {
    [ -z "$server" ] || kill "$server" 2>/dev/null || :
    rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT TERM
show() {
    printf '\n$ %s\n' "$*"
    "$@"
}

current=llvm_$(python -c 'from tophub_registry.tophub import PACKAGE_VERSION; print(PACKAGE_VERSION["llvm"])').log

cd "$work"
show tophub tune "$model" --target llvm --total-trials "$trials" -o new.log
cp "$repository/registry_data/$current" .
show tophub merge "$current" new.log
next=$(ls llvm_v*.log | tail -n 1)
show tophub release llvm "$next" --registry my_registry

python -u -m http.server --bind 127.0.0.1 --directory my_registry 0 >served 2>/dev/null &
server=$!
until port=$(sed -n 's/.* port \([0-9]*\) .*/\1/p' served) && [ -n "$port" ]; do sleep 0.1; done
show tophub fetch llvm --location "http://127.0.0.1:$port" --root root
show tophub list --location "http://127.0.0.1:$port" --root root
show tophub gain "$model" --log "root/$next"

cat <<END

That was the whole cycle with a small model. Next, try your own model (it takes some minutes):

  export PATH="$repository/.venv/bin:\$PATH"
  tophub tune resnet18_v1 --total-trials 500 -o new.log
END
