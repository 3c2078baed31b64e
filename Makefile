# Lockserver. `make` says what there is to do.
.DEFAULT_GOAL := help
parts := server sdk-go sdk-js sdk-python conformance
version = $(shell git describe --tags --match 'server/v*' --always --dirty 2>/dev/null | sed 's|^server/||' | grep . || echo dev)

# What the parts' tests need of one another, so that each is built once.
export LOCKSERVER_BIN ?= $(CURDIR)/bin/lockserver
export TOXIPROXY_BIN ?= $(CURDIR)/bin/toxiproxy
export ETCD_BIN ?= $(CURDIR)/bin/etcd

.PHONY: help
help: ## this list
	@echo 'make TARGET, where TARGET is one of'
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  \1\t\2/' | expand -t 22

.PHONY: run
run: build ## start a server on 127.0.0.1:8080; makes a .env with a secret if there is none
	@server/scripts/run

.PHONY: build
build: ## build bin/lockserver and what the tests need
	@mkdir -p bin
	go build -C server -ldflags '-X main.version=$(version)' -o ../bin/lockserver ./cmd/lockserver
	go build -C sdk-go -o ../bin/lockctl ./cmd/lockctl
	go build -C conformance -o ../bin/toxiproxy github.com/Shopify/toxiproxy/v2/cmd/server

# Only tests need it.
.PHONY: etcd
etcd:
	GOWORK=off go build -C server/internal/etcdtest/etcd -o $(CURDIR)/bin/etcd .
test-server bench-server test-conformance prove: etcd

.PHONY: test
test: build $(parts:%=test-%) ## run all tests; the conformance suite in Docker where an engine answers
	@echo 'All tests passed.'

.PHONY: lint
lint: $(parts:%=lint-%) ## check format, types and common mistakes everywhere
	go run github.com/rhysd/actionlint/cmd/actionlint@v1.7.12 -shellcheck= -pyflakes=

.PHONY: generate
generate: ## write the tables that come from conformance/contract.json
	$(MAKE) -C conformance generate

.PHONY: bench
bench: build $(parts:%=bench-%) ## run all benchmarks (minutes)

.PHONY: $(parts:%=test-%) $(parts:%=lint-%) $(parts:%=bench-%)
$(parts:%=test-%): test-%: build
	$(MAKE) -C $* test
$(parts:%=lint-%): lint-%:
	$(MAKE) -C $* lint
$(parts:%=bench-%): bench-%: build
	$(MAKE) -C $* bench

.PHONY: simulate
simulate: ## run the simulator for MINUTES=1, or SEEDS=n; SEED=n replays one
	@$(MAKE) -C server simulate

.PHONY: screenshots
screenshots: ## make the pictures of the dashboard in the README (minutes; needs a Chromium)
	@$(MAKE) -C server screenshots

.PHONY: up
up: ## start a server in Docker and wait until it is healthy
	@server/scripts/up

.PHONY: down
down: ## stop the server in Docker; its locks stay
	@server/scripts/down

.PHONY: conformance
conformance: build ## run the conformance suite in Docker; IMAGE=…: your SDK alone
	$(MAKE) -C conformance docker

.PHONY: conformance-local
conformance-local: build ## run the conformance suite with local processes; DRIVER='command …' tests your SDK
	$(MAKE) -C conformance local

.PHONY: prove
prove: ## check the promises under bad luck (minutes); FOR=5m, CLUSTER=1, SEED=… to have the same faults again
	$(MAKE) -C conformance prove

.PHONY: soak
soak: ## put a steady load on a server, and tell whether anything grows; HOURS=1 or MINUTES=…
	$(MAKE) -C conformance soak

.PHONY: clean
clean: ## remove what was built, but no .env and no locks
	rm -rf bin
	@for part in $(parts); do $(MAKE) -C $$part clean; done
