# For the run scripts of the client and of the examples around it. The caller sets `name`, for the closing lines, and `root`.
# shellcheck shell=bash

# A check that cannot run has failed: skipping it would read like a pass.
cannot() {
    printf 'FAILED %s: %s\n' "$name" "$1"
    printf '%s: 0 passed, 1 failed\n' "$name"
    exit 1
}

# Installs what a folder's lock file names. The copy of that file is made last, so that an install that was cut short is done again.
install() {
    local installed=$1/node_modules/package-lock.json tool
    for tool in node npm; do
        command -v "$tool" >/dev/null || cannot "$tool is missing: install it"
    done
    node -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)' || cannot 'node must be 20 or newer'
    if ! cmp -s "$1/package-lock.json" "$installed"; then
        npm ci --prefix "$1" --silent --ignore-scripts --no-audit --no-fund || cannot "npm ci failed in $1"
        cp "$1/package-lock.json" "$installed"
    fi
}

# Installs and compiles the client.
client() {
    install "$root/clients/web"
    rm -rf "$root/clients/web/dist"
    "$root/clients/web/node_modules/.bin/tsc" -p "$root/clients/web" || cannot 'the client does not compile'
}

# Leaves the path of the binary in WEB_KEYWHEEL: the one that KEYWHEEL_BIN names, or one built now.
binary() {
    if [[ -z ${KEYWHEEL_BIN:-} ]]; then
        command -v cargo >/dev/null || cannot 'cargo is missing: install it, or name a binary in KEYWHEEL_BIN'
        cargo build --quiet --locked --manifest-path "$root/Cargo.toml" --bin keywheel || cannot 'cargo build failed'
        KEYWHEEL_BIN=${CARGO_TARGET_DIR:-$root/target}/debug/keywheel
    fi
    [[ -x $KEYWHEEL_BIN && -f $KEYWHEEL_BIN ]] || cannot "KEYWHEEL_BIN=$KEYWHEEL_BIN is no program"
    WEB_KEYWHEEL=$(realpath "$KEYWHEEL_BIN")
    export WEB_KEYWHEEL
    # Every variable of this prefix is a setting of Keywheel, this one too.
    local variable
    while IFS= read -r variable; do unset "$variable"; done < <(compgen -v KEYWHEEL_)
}

# Runs Node's tests in these files and says how many passed, in one line. A test that was cancelled or never ended is one that failed.
node_tests() {
    local title=$1 log tests passed status=0
    shift
    log=$(mktemp)
    NO_PROXY=localhost,127.0.0.1 no_proxy=localhost,127.0.0.1 NODE_NO_WARNINGS=1 \
        node --test --test-reporter=spec "$@" | tee "$log" || status=1
    tests=$(sed -n 's/^ℹ tests \([0-9]*\)$/\1/p' "$log")
    passed=$(sed -n 's/^ℹ pass \([0-9]*\)$/\1/p' "$log")
    rm -f "$log"
    printf '%s: %d passed, %d failed\n' "$title" "${passed:-0}" "$((${tests:-1} - ${passed:-0}))"
    [[ $status -eq 0 && ${passed:-0} -gt 0 && ${passed:-0} -eq ${tests:-1} ]]
}
