# The checks themselves are scripts, so that a machine without make can run them.
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null)
LDFLAGS := -X github.com/adit-tunnel/adit/internal/telemetry.version=$(VERSION)

.DEFAULT_GOAL := help
.PHONY: help build run demo test race check bench bench-api fuzz clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## build ./bin/adit, static
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o bin/adit ./cmd/adit

run: ## run the server as it is in the tree
	go run ./cmd/adit serve

demo: ## run the demonstration
	go run ./cmd/adit demo

test: ## run the tests, without the race detector
	@scripts/test-deps
	CGO_ENABLED=0 go test ./...

race: ## run the tests with the race detector
	@scripts/test-deps
	CGO_ENABLED=1 go test -race ./...

check: ## all that a change must pass; CI runs this
	@scripts/check

bench: ## measure adit beside OpenSSH, plain hops and a long wire (BENCH='-suite relay -only down')
	@go run ./bench $(BENCH)

bench-api: ## measure the control API under load (BENCH='-users 50 -time 5s')
	@go run ./bench/api $(BENCH)

fuzz: ## fuzz every target for 30 s
	@scripts/fuzz 30s

clean: ## remove what was built
	rm -rf bin
