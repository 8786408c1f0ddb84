# Gatepost's door for people: `make up` and `make test` need git, make and apt, nothing else.
#
# Every step says in one line what it does and keeps quiet otherwise; when it fails, its whole
# output follows. Stamps in .venv/ make a second run quick. A variable given to make reaches the
# program: make up GATEPOST_HOME=/srv/mail PUBLIC_BIND_ADDRESS=192.0.2.10

SHELL := /bin/sh
.SHELLFLAGS := -euc
.DEFAULT_GOAL := help
.NOTPARALLEL:
MAKEFLAGS += --no-print-directory

# After a plain `su`, PATH lacks these and dpkg refuses to work.
export PATH := $(PATH):/usr/local/sbin:/usr/sbin:/sbin

# The server and whatever installs packages need root; settings must survive the way there.
AS_ROOT := $(shell [ "$$(id -u)" -eq 0 ] || echo sudo --preserve-env)
APT_GET := $(AS_ROOT) env DEBIAN_FRONTEND=noninteractive apt-get --quiet --yes

GATEPOST := $(AS_ROOT) .venv/bin/gatepost
PYTEST := .venv/bin/pytest -p no:cacheprovider
# Tests wait more than they compute: two at once take half the time. SIDE_BY_SIDE= runs them one by
# one, which is easier to read when something fails.
SIDE_BY_SIDE ?= --numprocesses 2 --dist loadfile --no-loadscope-reorder
ARGS ?=
SECONDS ?= 60
SEED ?= 1
SEEDS ?= 20

# swaks speaks TLS only with libnet-ssleay-perl; mmdebstrap makes the newcomer's Debian 13.
# HAProxy is a sender of PROXY headers that is not Traefik. isync is a mail program. PostgreSQL is a second home for accounts:
# its server for tests to start, and the daemons' clients, which only DB_DRIVER=pgsql installs.
TEST_PACKAGES := debian-archive-keyring dovecot-pgsql haproxy iproute2 isync libnet-ssleay-perl \
	mmdebstrap openssl postfix-pgsql postgresql swaks
# Podman runs our images; netavark, aardvark-dns and iptables are the networks of Podman Compose.
# nftables stands in for kube-proxy and for a cluster's network plugin.
TEST_PACKAGES += aardvark-dns iptables netavark nftables podman runc

# Manifests are held against Traefik's own types; a package of npm's carries them.
TRAEFIK_TYPES := .venv/traefik-models/kubernetes-models-traefik-2.0.0.tgz

# A virtual environment that was moved, or whose Python was upgraded away, is made anew.
ifneq ($(wildcard .venv/ready*),)
$(shell { grep -qF "$(CURDIR)/.venv/bin" .venv/bin/gatepost && .venv/bin/python -c ''; } \
	>/dev/null 2>&1 || rm -rf .venv)
endif

# $(call step,what it does,shell commands)
define step
	@echo "→ $(strip $(1))"; \
	log=$$(mktemp); trap 'rm -f "$$log"' EXIT; \
	if ! ( set -e; $(2) ) >"$$log" 2>&1 </dev/null; then \
		cat "$$log" >&2; \
		echo "This step failed: $(strip $(1)). What it said is above." >&2; \
		exit 1; \
	fi
endef

# $(call debian_packages,names): installs what is missing of them
define debian_packages
	@command -v apt-get >/dev/null || { echo "apt-get is missing: make needs Debian 12 or newer," \
		"or a system derived from it. Elsewhere, install these yourself: $(1)" >&2; exit 1; }; \
	[ "$$(id -u)" -eq 0 ] || command -v sudo >/dev/null || { echo "Installing $(1) takes root:" \
		"run make as root, or install sudo." >&2; exit 1; }
	$(call step,Installing Debian packages: $(1),\
		$(APT_GET) update; $(APT_GET) install --no-install-recommends $(1))
endef

missing = $(shell for package in $(1); do \
	dpkg-query --show --showformat='$${db:Status-Status}' "$$package" 2>/dev/null \
	| grep -qx installed || echo "$$package"; done)

# Prints the first Python that is new enough and can make a virtual environment. It is run by the
# shell and not by $(shell): make expands a whole recipe before it installs anything.
FIND_PYTHON = for python in /usr/bin/python3 python3 python3.13 python3.12 python3.11; do \
	if $$python -c 'import sys, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	command -v $$python; break; fi; done

.PHONY: help
help: ## Show this list
	@echo "Usage: make TARGET [SETTING=value ...]"; echo
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  \1\t\2/p' Makefile | expand -t 20
	@echo; echo "Settings: docs/reference/settings.md, or .venv/bin/gatepost config show"

# --- the server -----------------------------------------------------------------------------

.PHONY: up
up: .venv/ready ## Install what is missing, start the mail server, prove that it works
	@$(GATEPOST) packages --install
	@$(GATEPOST) up --detach
	@$(GATEPOST) verify || [ $$? -eq 3 ]

.PHONY: down
down: ## Stop the mail server
	@if [ -x .venv/bin/gatepost ]; then $(GATEPOST) down; else echo "Nothing is installed."; fi

# --- containers -----------------------------------------------------------------------------

.PHONY: images
images: ## Build the container images: mta, mda, and all in one
	$(if $(shell for engine in docker podman buildah; do command -v $$engine; done),,\
		$(call debian_packages,buildah mmdebstrap debian-archive-keyring))
	@deploy/build-images

# --- what they stand on ---------------------------------------------------------------------

.PHONY: python
python:
	$(if $(shell $(FIND_PYTHON)),,$(call debian_packages,python3 python3-venv))
	@[ -n "$$($(FIND_PYTHON))" ] || { echo "Python 3.11 or newer is needed; this system has" \
		"$$(python3 --version 2>&1)." "Gatepost runs on Debian 12 and newer." >&2; exit 1; }

# Every file that is installed has its hash in a lock; uv takes seconds where pip takes a minute.
# uv is told of the index and the authority that pip is told of. Compiled at once, by its owner:
# root would leave files of its own in .venv that nobody else can remove.
PIP_SAYS = $$(.venv/bin/python -m pip config get global.$(1) 2>/dev/null || :)
OF_PIP = index="$${UV_DEFAULT_INDEX:-$${PIP_INDEX_URL:-$(call PIP_SAYS,index-url)}}"; \
	authority="$${SSL_CERT_FILE:-$${PIP_CERT:-$(call PIP_SAYS,cert)}}"; \
	[ -z "$$index" ] || export UV_DEFAULT_INDEX="$$index"; \
	[ -z "$$authority" ] || export SSL_CERT_FILE="$$authority"
INSTALL = .venv/bin/uv pip install --quiet --compile-bytecode --python .venv/bin/python
LOCKED = $(OF_PIP); $(INSTALL) --require-hashes $(addprefix --requirement locks/,$(addsuffix .txt,$(1)))

.venv/ready-run: pyproject.toml $(addprefix locks/,uv.txt build.txt run.txt) | python
	$(call step,Making a virtual environment in .venv,\
		.venv/bin/python -c '' || "$$($(FIND_PYTHON))" -m venv --clear .venv; \
		.venv/bin/python -m pip install --disable-pip-version-check --require-hashes \
			--requirement locks/uv.txt)
	$(call step,Installing Gatepost and its libraries into .venv,\
		$(call LOCKED,build run); \
		$(INSTALL) --no-deps --no-build-isolation --editable .; \
		.venv/bin/python -m compileall -q src)
	@touch $@

.venv/ready: .venv/ready-run locks/traefik.txt
	$(call step,Installing Traefik into .venv,$(call LOCKED,traefik))
	@touch $@

.venv/ready-unit: .venv/ready-run locks/unit.txt
	$(call step,Installing what unit tests need into .venv,$(call LOCKED,unit))
	@touch $@

.venv/ready-dev: .venv/ready-unit locks/dev.txt
	$(call step,Installing the developers' tools into .venv,$(call LOCKED,dev))
	@touch $@

.venv/ready-docs: .venv/ready-run locks/docs.txt
	$(call step,Installing Sphinx into .venv,$(call LOCKED,docs))
	@touch $@

$(TRAEFIK_TYPES): | .venv/ready-dev
	$(if $(shell command -v npm),,$(call debian_packages,npm))
	$(call step,Fetching Traefik's types,mkdir -p $(@D); \
		npm pack --silent --pack-destination $(@D) @kubernetes-models/traefik@2.0.0)

.PHONY: test-packages
test-packages: .venv/ready .venv/ready-dev $(TRAEFIK_TYPES)
	$(if $(call missing,$(TEST_PACKAGES)),\
		$(call debian_packages,$(call missing,$(TEST_PACKAGES))))
	@$(GATEPOST) packages --install

# --- tests ----------------------------------------------------------------------------------

.PHONY: test
test: lint docs test-packages ## Install what tests need; lint, build the docs, run every test
	@echo "→ Running every test: unit, images, real daemons, a cluster, the newcomer's path"
	@$(AS_ROOT) $(PYTEST) $(SIDE_BY_SIDE) $(ARGS) tests/newcomer tests/unit tests/manifests \
		tests/images tests/cluster tests/hostile tests/faults tests/soak tests/real

.PHONY: test-unit
test-unit: .venv/ready-unit ## Run the tests that need neither root nor daemons (under a minute)
	@$(PYTEST) $(SIDE_BY_SIDE) $(ARGS) tests/unit

.PHONY: test-debian-13
test-debian-13: test-packages ## Run in Debian 13 what depends most on the daemons' versions (half an hour)
	@DEBIAN_13=whole $(AS_ROOT) $(PYTEST) $(ARGS) tests/newcomer/test_newcomer.py \
		-k test_daemons_of_debian_13

.PHONY: test-real
test-real: test-packages ## Run the tests against real Postfix, Dovecot and Traefik
	@$(AS_ROOT) $(PYTEST) $(ARGS) tests/real

.PHONY: test-cluster
test-cluster: test-packages ## Run the images and the manifests, in containers and network namespaces
	@$(AS_ROOT) $(PYTEST) $(ARGS) tests/manifests tests/images tests/cluster

.PHONY: test-newcomer
test-newcomer: test-packages ## Follow the README from a fresh clone, here and on a bare Debian 13
	@$(AS_ROOT) $(PYTEST) $(ARGS) tests/newcomer

.PHONY: faults
faults: test-packages ## Kill, fill, cut and break it all under load: SEEDS=20 times, from SEED=1 on
	@FAULT_SEED=$(SEED) FAULT_SEEDS=$(SEEDS) $(AS_ROOT) $(PYTEST) $(SIDE_BY_SIDE) $(ARGS) tests/faults

.PHONY: soak
soak: test-packages ## Put a server under mixed load for SECONDS=3600, and see that nothing grows
	@SOAK_SECONDS=$(SECONDS) $(AS_ROOT) $(PYTEST) --capture=no --override-ini faulthandler_timeout=0 \
		$(ARGS) tests/soak

.PHONY: patience
patience: test-packages ## Wait for the daemons' own time-outs of stuck clients (nine minutes)
	@PATIENCE=1 $(AS_ROOT) $(PYTEST) $(ARGS) tests/hostile/test_slow_clients.py -k in_the_end

.PHONY: fuzz
fuzz: .venv/ready-dev ## Fuzz every parser, or one as TARGET=name, for SECONDS=60 each
	@for target in $(or $(TARGET),$(notdir $(wildcard fuzz/corpus/*))); do \
		echo "→ Fuzzing $$target for $(SECONDS) s"; \
		.venv/bin/python "fuzz/$$target.py" -max_total_time=$(SECONDS) $(ARGS); \
	done

.PHONY: lint
lint: .venv/ready-dev ## Check format, style, types and who imports whom
	$(call step,Checking the format (ruff format),.venv/bin/ruff format --check .)
	$(call step,Checking the style (ruff check),.venv/bin/ruff check .)
	$(call step,Checking the types (mypy),.venv/bin/mypy)
	$(call step,Checking who imports whom (import-linter),.venv/bin/lint-imports)

.PHONY: bench
bench: test-packages ## Measure speed and size beside stock daemons (fifteen minutes)
	@$(AS_ROOT) .venv/bin/python bench/everything.py $(ARGS)

# --- documents ------------------------------------------------------------------------------

.PHONY: docs
docs: .venv/ready-docs ## Build the documentation into docs/_build
	$(call step,Building the documentation into docs/_build,\
		.venv/bin/sphinx-build --quiet -W --keep-going -n docs docs/_build)

.PHONY: docs-pages
docs-pages: .venv/ready-docs ## Write the generated reference pages anew
	$(call step,Writing the generated reference pages,.venv/bin/python docs/generate.py)

.PHONY: rendered
rendered: .venv/ready ## Write the configurations anew that tests compare with
	$(call step,Writing the trees below tests/unit/rendered,.venv/bin/python tests/support/rendered.py)

# --- upkeep ---------------------------------------------------------------------------------

# The locks have neither names of hosts nor paths, so they serve behind any index. All are of one
# resolution: what is in two of them has the same version.
LOCK = .venv/bin/uv pip compile --quiet --universal --generate-hashes --no-header --no-annotate \
	--python-version 3.11
EXTRAS := build traefik unit dev docs
EXTRA = import sys, tomllib; print(*tomllib.load(sys.stdin.buffer)["project"]$(\
	)["optional-dependencies"][sys.argv[1]], sep="\n")

.PHONY: locks
locks: .venv/ready-run ## Pin the newest libraries that fit, with their hashes, in locks/
	$(call step,Resolving the newest libraries that fit,\
		$(OF_PIP); \
		folder=$$(mktemp -d); \
		trap 'rm -rf "$$folder"' EXIT; \
		$(LOCK) --all-extras --upgrade --output-file "$$folder/all.txt" pyproject.toml; \
		$(LOCK) --constraint "$$folder/all.txt" --output-file locks/run.txt pyproject.toml; \
		for extra in $(EXTRAS); do \
			.venv/bin/python -c '$(EXTRA)' "$$extra" <pyproject.toml >"$$folder/$$extra.in"; \
			$(LOCK) --constraint "$$folder/all.txt" --output-file "locks/$$extra.txt" \
				"$$folder/$$extra.in"; \
		done; \
		echo uv >"$$folder/uv.in"; \
		$(LOCK) --upgrade --output-file locks/uv.txt "$$folder/uv.in")
