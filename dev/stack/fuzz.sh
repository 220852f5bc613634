# shellcheck shell=bash
# Looking for bytes with which something does not hold that must (tests/fuzz): by cargo-fuzz, on the stable compiler.

CARGO_FUZZ_VERSION=0.13.2
FUZZ_DIR=tests/fuzz

install_fuzz() {
  # libFuzzer is C++.
  debian_packages g++
  cargo_tool cargo-fuzz "$CARGO_FUZZ_VERSION"
}

fuzz_targets() { find "$FUZZ_DIR/fuzz_targets" -name '*.rs' -printf '%f\n' | sed 's/\.rs$//' | sort; }

# run_fuzz COMMAND ARGUMENT...: with what it takes to build a target. Without a sanitizer, as there is no unsafe code of ours.
run_fuzz() {
  local command=$1
  shift
  cargo fuzz "$command" --fuzz-dir "$FUZZ_DIR" --dev --sanitizer none --features libfuzzer "$@"
}

# fuzz TARGET SECONDS: from the committed corpus on; what is found on the way is kept beside the build.
fuzz() {
  local found
  found=$(target_dir)/fuzz/found/$1
  mkdir -p "$found"
  run_fuzz run "$1" "$found" "$FUZZ_DIR/corpus/$1" -- -max_total_time="$2" -timeout=10 -rss_limit_mb=2048 -max_len=8192 \
    -print_final_stats=1
}
