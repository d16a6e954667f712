# Every target that a person or the CI runs. `make` alone lists them.
SHELL := /bin/bash
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.PHONY: help bootstrap build release demo load run test test-e2e test-webrtc lint bench-memory bench-bootstrap bench-relay bench-relay-srtp bench-setup bench-handshakes \
	bench-flood bench-sip bench-micro bench-srtp soak fuzz clean

CARGO ?= cargo
TARGET := $(or $(CARGO_TARGET_DIR),target)
PACKAGES := --package ringpath-dataplane --package ringpath-control --package ringpathctl --package ringpath-bench

help: ## This list
	@awk 'BEGIN { FS = ":.*## " } /^[a-z0-9-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

bootstrap: ## Install the Debian packages that are missing (tuning/bootstrap.sh)
	@tuning/bootstrap.sh

build: bootstrap ## Build every binary and test, unoptimised
	$(CARGO) build --workspace --locked --bins --tests

release: bootstrap ## Build both planes and the kit, optimised
	$(CARGO) build --release --locked $(PACKAGES) --bins

demo: release ## 20 calls with speech both ways through both planes; prints the table, writes target/demo/report.json
	$(TARGET)/release/ringpath-kit demo

load: release ## 200 calls at once, 50 set up a second; fails on a lost packet; writes target/load/report.json
	$(TARGET)/release/ringpath-kit demo --name load --calls 200 --rate 50 --talk-s 30

run: release ## Both planes in the foreground with the example configuration; Ctrl-C stops them
	$(TARGET)/release/ringpath-kit run

# The binaries are built first, so that the end-to-end tests find them beside the test executable.
test: build ## The whole suite: unit, property, simulation, fuzz corpus, SIPp against the real binaries
	$(CARGO) test --workspace --locked

test-e2e: build ## Only the end-to-end tests of bench/tests/it: SIPp against the real binaries
	$(CARGO) test --package ringpath-bench --locked --test it

test-webrtc: bench-bootstrap build ## Headless Chromium and aiortc calling and called by SIPp, none left out; screenshots and statistics in target/webrtc
	STRICT=1 $(CARGO) test --package ringpath-bench --locked --test it webrtc

lint: ## Format, clippy with warnings as errors, licences and bans of dependencies
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- --deny warnings
	tuning/check-dependencies.sh

bench-memory: release ## Bytes a call in each plane; writes target/bench/memory.json
	$(TARGET)/release/ringpath-kit memory

bench-bootstrap: bootstrap ## Install rtpengine, for bench-relay to compare with; needs root
	@bench/bootstrap.sh

# ARGS adds to it, such as ARGS="--calls 100,300,600 --rounds 5 --time-s 3600"; see ringpath-kit relay --help.
bench-relay: release ## Relays side by side, fifteen minutes, needs root; writes target/bench/relay.{json,md} and charts
	$(TARGET)/release/ringpath-kit relay --commit "$$(git rev-parse --short HEAD)" $(ARGS)

bench-relay-srtp: release ## Relays whose callers have SRTP and callees none, and the same in clear; needs root; writes target/bench/relay-srtp.{json,md}
	$(TARGET)/release/ringpath-kit relay --name relay-srtp --load frames --calls 100,500,1000 --calls-max 0 \
		--systems ringpath/uring,ringpath/uring-srtp,ringpath/xsk,ringpath/xsk-srtp,rtpengine/user-space,rtpengine/user-space-srtp --commit "$$(git rev-parse --short HEAD)" $(ARGS)

bench-setup: release ## Calls set up a second over gRPC, with and without steering; writes target/bench/setup.json
	$(TARGET)/release/ringpath-kit setup $(ARGS)

bench-handshakes: release ## DTLS handshakes a second beside 200 established calls that must lose nothing; writes target/bench/handshakes.json
	$(TARGET)/release/ringpath-kit handshakes $(ARGS)

bench-flood: release ## Requests within established calls while strangers send 50,000 SIP requests a second, two minutes; writes target/bench/flood.json
	$(TARGET)/release/ringpath-kit flood $(ARGS)

# ARGS adds to it, such as ARGS="--metrics cps_signalling,cpu_us_per_call --systems ringpath"; see ringpath-kit sip-load --help.
bench-sip: release ## SIP on one core, beside Kamailio, twelve minutes: rates, memory, overload; writes target/bench/sip.json
	$(TARGET)/release/ringpath-kit sip-load $(ARGS)

bench-micro: ## The functions on the way of a packet and of a message, by themselves (criterion)
	$(CARGO) bench --package ringpath-bench --locked --bench micro $(if $(ARGS),-- $(ARGS))

bench-srtp: ## SRTP packets beside the system's libsrtp2, half a minute; writes target/bench/srtp.json
	$(CARGO) bench --package srtp --locked --bench packets -- $(abspath $(TARGET))/bench

MINUTES ?= 10
soak: release ## MINUTES of churn against a real media node; fails on a lost packet, and when memory, ports, files or map entries are not back
	$(TARGET)/release/ringpath-kit soak --minutes $(MINUTES)

fuzz: ## How to run the fuzz targets; `make test` replays their corpus
	@echo "Commands for each target, on stable Rust: control-plane/fuzz/README.md and dataplane/fuzz/README.md"

clean: ## Remove what was built
	$(CARGO) clean
