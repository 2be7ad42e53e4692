# rtc-fleet. `make help` lists the targets.

MAKEFLAGS += --no-print-directory
SETUP := e2e/setup
TAGS := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/rtc-fleet/tags

.PHONY: help up down status kubeconfig test check unit fuzz e2e bench-turn bench-turn-soak bench-mutations bench-scale soak-dns generate fmt lint cluster install

help: ## this list
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1|/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "  make %-16s %s\n", $$1, $$2}'

up: install ## a cluster (or yours, by KUBECONFIG), the operator, two TURN regions and a test call
	@$(SETUP)/up.sh

down: ## remove the local cluster and everything it made; from a cluster of yours, the chart
	@$(SETUP)/down.sh

status: ## components, nodes and regions of the local cluster
	@$(SETUP)/status.sh

kubeconfig: ## print the path of the local cluster's kubeconfig
	@$(SETUP)/kubeconfig.sh

test: ## everything that CI runs
	@$(SETUP)/test.sh

check: ## format, lints, generated files (no cluster needed)
	@$(SETUP)/check.sh

unit: ## unit and property tests (no cluster needed)
	@$(SETUP)/unit.sh

fuzz: ## a minute of mutated packets through the TURN core
	@$(SETUP)/fuzz.sh

bench-turn: ## media-node and coturn side by side, on one core; COTURN=path adds a second coturn
	@$(SETUP)/bench-turn.sh

bench-turn-soak: ## 10 000 live allocations on one media-node for BENCH_SOAK_SECONDS (600)
	@$(SETUP)/bench-turn-soak.sh

bench-mutations: ## 10 million mutated packets through the sockets of a media-node
	@$(SETUP)/bench-mutations.sh

bench-scale: ## the operator with 200 TurnRegions and 5 000 relays on pretended machines (20 to 30 minutes)
	@$(SETUP)/bench-scale.sh

e2e: install ## scenarios on the cluster; TEST=name runs those whose name holds it
	@$(SETUP)/e2e.sh $(TEST)

soak-dns: install ## DNS_SOAK_MINUTES (30) of mixed faults, during which no healthy region may leave the answer
	@$(SETUP)/soak-dns.sh

generate: ## write what is generated: CRDs, the chart's copies of them, the API reference
	@$(SETUP)/generate.sh

fmt: ## format Rust and Go
	@cargo fmt --all
	@gofmt -w e2e/cluster

cluster:
	@$(SETUP)/cluster.sh

install: cluster
	@mkdir -p $(dir $(TAGS))
	@$(SETUP)/images.sh $(TAGS)
	@$(SETUP)/install.sh $(TAGS)
