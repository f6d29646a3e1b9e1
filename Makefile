# weir.  `make help` lists what can be made.
#
# Sources are found by floor, so a new file needs no line here.  Each floor becomes one library, and the
# tests of a floor are linked with that floor and those it stands on, and nothing above: code that
# reaches upward does not link.

B      ?= build
PORT   ?= 8080
PREFIX ?= /usr/local
# The changelog tells of which day this version is.
VERSION  := $(shell sed -n 's/^.define WEIR_VERSION "\(.*\)"/\1/p' app/base/version.h)
RELEASED := $(shell date -u +%F -d "$$(sed -n '/^ -- .*>  /{s///p;q}' app/deploy/debian/changelog)")
sysconfdir ?= /etc
unitdir ?= $(PREFIX)/lib/systemd/system

ifeq ($(origin CC),default)
CC := gcc
endif
PYTHON := /usr/bin/python3
PYTEST := $(PYTHON) -B -m pytest -p no:cacheprovider -q

ifeq ($(MAKELEVEL),0)
MAKEFLAGS += --jobs=$(shell nproc)
endif
MAKEFLAGS += --no-builtin-rules --no-print-directory

# ---- Compiler ----------------------------------------------------------------

WARNINGS := -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wformat=2 -Wcast-qual -Wswitch-enum \
            -Wstrict-prototypes -Wmissing-prototypes -Wundef -Wvla -Werror
OPTIMIZE := -O2 -g
SANITIZE :=
HARDEN   := -D_FORTIFY_SOURCE=2 -fstack-protector-strong -fPIE
HARDEN_LINK := -pie -Wl,-z,relro,-z,now
ifeq ($(shell uname -m),x86_64)
MACHINE  := -mcx16
HARDEN   += -fstack-clash-protection -fcf-protection
endif

compile = $(CC) -std=c11 -D_GNU_SOURCE -Iapp -I. $(MACHINE) $(OPTIMIZE) $(WARNINGS) $(HARDEN) $(SANITIZE) \
          -pthread $(CPPFLAGS) $(CFLAGS)
link    = $(CC) $(OPTIMIZE) $(SANITIZE) -pthread $(HARDEN_LINK) $(LDFLAGS)

# `make static`.  Static glibc, because Debian has the other libraries' archives, and they are made for glibc: musl
# (musl-tools) would need each of them built anew, and a binary that is linked to shared libraries with symbols of an
# old glibc would still need those libraries, by the names that they have there.  static-pie keeps the
# addresses random.  Three libraries have no archive that links: libpq and libcurl (their Kerberos and LDAP
# have none) and librdkafka (its SASL loads modules), so PostgreSQL, OTLP and Kafka are not in it.  glibc's getaddrinfo() and getgrnam() would
# load the host's NSS modules, which fit the host's glibc and not ours: app/main.c keeps to those that are built in,
# /etc/hosts, DNS and /etc/group.
ifdef STATIC
HARDEN_LINK := -static-pie -Wl,-z,relro,-z,now,--no-warnings
CPPFLAGS    += -DENGINE_POSTGRESQL=0 -DENGINE_KAFKA=0 -DENGINE_OTLP=0
unlinkable  := -lpq -lrdkafka -lcurl
endif

# `make V=1` shows the commands as they are.
say = $(if $(V),,@printf '  %-4s %s\n' $1 $2;)

# ---- The house ---------------------------------------------------------------

FLOORS := base telemetry http policy client service pipeline handlers runtime

stands_on_base      :=
stands_on_telemetry := base
stands_on_http      := base
stands_on_policy    := base
stands_on_client    := http telemetry base
stands_on_service   := client policy http telemetry base
stands_on_pipeline  := service $(stands_on_service)
stands_on_handlers  := pipeline $(stands_on_pipeline)
stands_on_runtime   := pipeline $(stands_on_pipeline)
stands_on_cmd       := runtime handlers $(stands_on_handlers)

# Other people's libraries, at the floor of their home.
libs_base   := -lxxhash -lnettle -lm
libs_client := $(filter-out $(unlinkable),-lfcgi -lhiredis -lsqlite3 -llmdb -lpq -lrdkafka -lzstd -lcurl -lz)

# What no source stands for.
made_runtime := $(B)/app/status/page.o

sources = $(sort $(wildcard $(if $(filter handlers,$1),handlers,app/$1)/*.c))
objects = $(patsubst %.c,$(B)/%.o,$1)
library = $(B)/lib$1.a
with    = $(foreach floor,$1 $(stands_on_$1),$(call library,$(floor))) \
          $(foreach floor,$1 $(stands_on_$1),$(libs_$(floor)))

weir_sources  := $(foreach floor,$(FLOORS) cmd,$(call sources,$(floor))) app/main.c
test_floors   := $(notdir $(patsubst %/,%,$(sort $(dir $(wildcard tests/unit/*/test_*.c)))))
unit_programs := $(test_floors:%=$(B)/unit/%)
fuzzers       := $(patsubst tests/fuzz/fuzz_%.c,%,$(wildcard tests/fuzz/fuzz_*.c))
unit_sources  := $(wildcard tests/unit/*/*.c) tests/support/unit.c
tool_sources  := $(wildcard tests/lint/*.c tests/bench/*.c tests/fuzz/*.c) tests/support/replay.c
all_sources   := $(weir_sources) $(unit_sources) $(tool_sources)

.PHONY: all static man html run stack test test-packages fronts unit lint format docs asan tsan memcheck fuzz bench install uninstall deb clean help objects
.SECONDARY:
.DELETE_ON_ERROR:
all: $(B)/weir ## build build/weir (the default)

static: need-build ## build build/weir-static, which needs no library of the system that it runs on
	@$(MAKE) $(B)/static/weir B=$(B)/static STATIC=yes
	@cp $(B)/static/weir $(B)/weir-static

objects: $(call objects,$(all_sources))

$(B)/weir: $(B)/app/main.o $(call library,cmd) $(filter %.a,$(call with,cmd))
	$(call say,ld,$@)$(link) $< $(call with,cmd) -o $@

$(B)/app/main.o $(B)/app/cmd/version.o: CPPFLAGS += -DWEIR_STATIC=$(if $(STATIC),1,0)

$(B)/%.o: %.c Makefile | need-build
	@mkdir -p $(@D)
	$(call say,cc,$<)$(compile) -MMD -MP -c $< -o $@

define floor_library
$(call library,$1): $(call objects,$(call sources,$1)) $(made_$1)
	@mkdir -p $$(@D) && rm -f $$@
	$$(call say,ar,$$@)ar rcs $$@ $$^
endef
$(foreach floor,$(FLOORS) cmd,$(eval $(call floor_library,$(floor))))

-include $(patsubst %.c,$(B)/%.d,$(all_sources))

# The status page: one C array, made of app/status/ and of what npm fetches for it, once, into build/npm.
NPM ?= $(B)/npm
export NPM
uplot       := $(NPM)/node_modules/.package-lock.json
status_page := $(filter-out %.json,$(wildcard app/status/*))

$(uplot): app/status/package.json app/status/package-lock.json | need-build
	@mkdir -p $(NPM) && cp $^ $(NPM)
	$(call say,npm,$(NPM))npm ci --prefix $(NPM) --ignore-scripts --no-audit --no-fund --prefer-offline --loglevel=error >$(NPM)/log
	@touch $@

$(B)/app/status/page.c: $(status_page) $(uplot)
	@mkdir -p $(@D)
	$(call say,page,$@)node app/status/embed.mjs $(NPM)/node_modules > $@

$(B)/app/status/page.o: $(B)/app/status/page.c app/runtime/status_page.h Makefile
	$(call say,cc,$<)$(compile) -c $< -o $@

# ---- Run ---------------------------------------------------------------------

run: all need-run ## start nginx and weir with the demo API; PORT=9000 make run moves the port
	@exec $(PYTHON) -B tests/support/run.py --binary $(B)/weir --port $(PORT)

stack: all need-stack ## as run, but on a real Redis, Kafka, PostgreSQL with a replica, and PgBouncer
	@exec $(PYTHON) -B tests/support/stack.py --binary $(B)/weir --port $(PORT)

# ---- Tests -------------------------------------------------------------------

define unit_program
$(B)/unit/$1: $(call objects,$(wildcard tests/unit/$1/*.c) tests/support/unit.c) $(filter %.a,$(call with,$1))
	@mkdir -p $$(@D)
	$$(call say,ld,$$@)$$(link) $(call objects,$(wildcard tests/unit/$1/*.c) tests/support/unit.c) $(call with,$1) -lcunit -o $$@
endef
$(foreach floor,$(test_floors),$(eval $(call unit_program,$(floor))))
$(call objects,$(unit_sources)): | need-test

RUN_TESTS = $(PYTHON) -B tests/support/run_tests.py

test: all need-test $(unit_programs) $(fuzzers:%=$(B)/replay/%) $(B)/gen_docs man ## build, and run all unit and integration tests
	@$(RUN_TESTS) $(unit_programs) $(foreach x,$(fuzzers),"$(B)/replay/$x $(wildcard tests/fuzz/corpus/$x/*)") \
	    --pytest tests/integration

test-packages: all static deb need-packages ## what is slow about packaging, as root: chroots, the package, the static build, the Dockerfile
	@$(RUN_TESTS) --pytest tests/packages

# UNIT_LEFT_OUT: suites that are not run.
unit_runs = $(foreach program,$(unit_programs),"$(program) $(UNIT_LEFT_OUT:%=-%)")

# What each front server can do, as seen; the README shows it.
fronts: all need-test $(B)/gen_docs ## see what each front server can do, and write the table of the README
	WEIR_FRONTS=write $(PYTEST) tests/integration/test_92_fronts.py
	cp $(B)/fronts.md tests/integration/fronts.md
	tests/lint/docs --write $(B)/gen_docs

unit: $(unit_programs) ## run the unit tests only
	@$(RUN_TESTS) $(UNIT_WRAPPER) $(unit_runs)

# They step through a child instruction by instruction, which takes minutes when a sanitizer's are stepped through
# too; `make test` walks them all.
SLOW_WALKS := breaker_walk lease_steps tickets_steps

asan: need-test ## unit tests and the kill storm under address and undefined-behaviour sanitizers
	@$(MAKE) all unit B=$(B)/asan OPTIMIZE='-O1 -g' HARDEN= HARDEN_LINK= \
	    SANITIZE='-fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer' \
	    UNIT_LEFT_OUT='$(SLOW_WALKS)'
	WEIR_TEST_BINARY=$(B)/asan/weir $(PYTEST) -m storm tests/integration

# Without address randomisation: the sanitizer of this compiler does not know all layouts of new kernels.  Without
# librdkafka: it starts its threads by thrd_create(), which this sanitizer does not know, and crashes in them.
tsan: need-test ## unit tests under the thread sanitizer
	@$(MAKE) unit B=$(B)/tsan OPTIMIZE='-O1 -g' HARDEN= HARDEN_LINK= SANITIZE='-fsanitize=thread' \
	    UNIT_WRAPPER='--under "setarch --addr-no-randomize"' UNIT_LEFT_OUT='$(SLOW_WALKS) kafka kafka_steps'

# Without the suites that step through a child instruction by instruction: they would step through valgrind.  Without
# store_postgresql: a read that is as slow as under valgrind leaves its server for another one.
# A forked child may end while it holds memory: only what is lost for certain counts, and it says nothing.
VALGRIND     := valgrind --quiet --fair-sched=yes --child-silent-after-fork=yes --leak-check=full \
                --show-leak-kinds=definite --errors-for-leak-kinds=definite --error-exitcode=99
WALKS        := $(SLOW_WALKS) flight_walk key_cache_walk l1_crash limiter_steps retry_budget_walk

memcheck: need-test need-memcheck ## unit tests under valgrind
	@$(MAKE) unit UNIT_WRAPPER='--under "$(VALGRIND)"' UNIT_LEFT_OUT='$(WALKS) store_postgresql'

# Every parser of outside bytes has a tests/fuzz/fuzz_X.c.  The fuzzer starts from the files in corpus/X, and
# what breaks the parser is left there; `make test` tries those files again without a fuzzer.
FUZZ_SECONDS ?= 20

fuzz: need-fuzz ## fuzz each parser for FUZZ_SECONDS (default 20)
	@$(MAKE) $(fuzzers:%=$(B)/clang-fuzz/fuzz/%) B=$(B)/clang-fuzz CC=clang OPTIMIZE='-O1 -g' HARDEN= HARDEN_LINK= \
	    SANITIZE='-fsanitize=address,undefined,fuzzer-no-link -fno-sanitize-recover=all'
	@for x in $(fuzzers); do \
	    echo "== $$x"; mkdir -p $(B)/found/$$x tests/fuzz/corpus/$$x; \
	    $(B)/clang-fuzz/fuzz/$$x -max_total_time=$(FUZZ_SECONDS) -rss_limit_mb=1024 -timeout=5 -verbosity=0 \
	        -artifact_prefix=tests/fuzz/corpus/$$x/ $(B)/found/$$x tests/fuzz/corpus/$$x || exit 1; \
	done

$(B)/fuzz/%: $(B)/tests/fuzz/fuzz_%.o $(filter %.a,$(call with,cmd))
	@mkdir -p $(@D)
	$(call say,ld,$@)$(link) -fsanitize=fuzzer $< $(call with,cmd) -o $@

$(B)/replay/%: $(B)/tests/fuzz/fuzz_%.o $(B)/tests/support/replay.o $(filter %.a,$(call with,cmd))
	@mkdir -p $(@D)
	$(call say,ld,$@)$(link) $(filter %.o,$^) $(call with,cmd) -o $@

# ---- Gates -------------------------------------------------------------------

c_files = $(shell find app handlers tests -name '*.[ch]' | sort)

lint: need-lint $(B)/gen_docs ## floors, sizes, guards, format, clang, and the tables of the README
	tests/lint/floors
	tests/lint/files
	@clang-format --dry-run -Werror $(c_files)
	$(MAKE) objects B=$(B)/clang CC=clang
	tests/lint/docs --check $(B)/gen_docs

format: need-lint ## put all C files into the shape of .clang-format
	@clang-format -i $(c_files)

docs: $(B)/gen_docs ## write the tables of the README from the tables of the code
	tests/lint/docs --write $<

man: $(B)/man/weir.1 $(B)/man/weir-endpoint.5 ## the manual pages, from the same tables, in build/man

$(B)/man/%: app/deploy/man/%.in app/deploy/man/render $(B)/gen_man app/deploy/debian/changelog
	@mkdir -p $(@D)
	$(call say,man,$@)app/deploy/man/render $< $(B)/gen_man $(VERSION) $(RELEASED) > $@

html: $(B)/html/index.html $(B)/html/changes.html ## the manual as web pages, for /docs/, in build/html

$(B)/html/index.html: README.md
$(B)/html/changes.html: CHANGES.md
$(B)/html/%.html: app/deploy/html/render app/deploy/html/page.html | need-html
	@mkdir -p $(@D)
	$(call say,html,$@)$(PYTHON) -B $^ > $@

$(B)/gen_docs $(B)/gen_man: $(B)/%: $(B)/tests/lint/%.o $(filter %.a,$(call with,cmd))
	$(call say,ld,$@)$(link) $< $(call with,cmd) -o $@

# ---- Bench -------------------------------------------------------------------

bench: all need-bench $(B)/bench/floor_a $(B)/bench/floor_b $(B)/bench/seed $(B)/bench/open_loop ## weir beside two bare floors; ROUNDS=5 SECONDS=4
	$(PYTHON) -B tests/bench/bench.py --build $(B)
	$(PYTHON) -B tests/bench/fleet.py --build $(B)
	$(PYTHON) -B tests/bench/overload.py --build $(B)

$(B)/bench/floor_%: $(B)/tests/bench/floor_%.o
	@mkdir -p $(@D)
	$(call say,ld,$@)$(link) $< -lfcgi -o $@

$(B)/bench/open_loop: $(B)/tests/bench/open_loop.o
	@mkdir -p $(@D)
	$(call say,ld,$@)$(link) $< -o $@

$(B)/bench/seed: $(B)/tests/bench/seed.o $(filter %.a,$(call with,runtime))
	@mkdir -p $(@D)
	$(call say,ld,$@)$(link) $< $(call with,runtime) -o $@

# ---- Install, clean, help ----------------------------------------------------

# Files that tell of the binary or of each other say /usr; they are given PREFIX on the way.  Settings of an earlier
# installation are left as they are.
prefixed  = sed 's|/usr/\(local/\)\?bin/weir|$(PREFIX)/bin/weir|g; s|/usr/local/share/|$(PREFIX)/share/|g' $1 > $2 && chmod 0644 $2
web_files := $(wildcard nginx/*.conf apache/*)
units     := weir.service weir.socket

install: all man html ## install under DESTDIR and PREFIX (default /usr/local)
	install -D -m 0755 $(B)/weir $(DESTDIR)$(PREFIX)/bin/weir
	install -D -m 0644 -t $(DESTDIR)$(PREFIX)/share/man/man1 $(B)/man/weir.1
	install -D -m 0644 -t $(DESTDIR)$(PREFIX)/share/man/man5 $(B)/man/weir-endpoint.5
	@for file in $(web_files); do \
	    install -d $(DESTDIR)$(PREFIX)/share/weir/$${file%/*} && \
	    $(call prefixed,$$file,$(DESTDIR)$(PREFIX)/share/weir/$$file) || exit 1; done
	install -m 0755 -t $(DESTDIR)$(PREFIX)/share/weir/nginx nginx/adapt
	install -D -m 0644 -t $(DESTDIR)$(PREFIX)/share/weir/deploy app/deploy/*.yaml
	install -D -m 0644 -t $(DESTDIR)$(PREFIX)/share/weir/handlers/atlas handlers/atlas/*.sql
	install -D -m 0644 -t $(DESTDIR)$(PREFIX)/share/weir/handlers/atlas/schema handlers/atlas/schema/*
	install -D -m 0644 -t $(DESTDIR)$(PREFIX)/share/weir/handlers/example app/deploy/handlers/*.sql
	install -D -m 0644 -t $(DESTDIR)$(PREFIX)/share/doc/weir README.md CHANGES.md
	install -D -m 0644 -t $(DESTDIR)$(PREFIX)/share/doc/weir/html/docs $(B)/html/*.html
	install -d -m 0755 $(DESTDIR)$(unitdir) $(DESTDIR)$(sysconfdir)/weir/handlers
	@for unit in $(units); do \
	    $(call prefixed,app/deploy/systemd/$$unit,$(DESTDIR)$(unitdir)/$$unit) || exit 1; done
	install -D -m 0644 app/deploy/systemd/weir.tmpfiles $(DESTDIR)$(PREFIX)/lib/tmpfiles.d/weir.conf
	install -D -m 0644 app/deploy/logrotate/weir $(DESTDIR)$(sysconfdir)/logrotate.d/weir
	@test -e $(DESTDIR)$(sysconfdir)/weir/weir.env || \
	    install -m 0640 app/deploy/weir.env $(DESTDIR)$(sysconfdir)/weir/weir.env

uninstall: ## remove what was installed; settings, endpoint files, state and log stay
	rm -rf $(DESTDIR)$(PREFIX)/bin/weir $(DESTDIR)$(PREFIX)/share/weir $(DESTDIR)$(PREFIX)/share/doc/weir \
	    $(DESTDIR)$(PREFIX)/share/man/man1/weir.1 $(DESTDIR)$(PREFIX)/share/man/man5/weir-endpoint.5 \
	    $(units:%=$(DESTDIR)$(unitdir)/%) $(DESTDIR)$(PREFIX)/lib/tmpfiles.d/weir.conf \
	    $(DESTDIR)$(sysconfdir)/logrotate.d/weir

# Debian's tools want a folder debian/ at the top of the source, and write their packages beside that: so the source is
# copied to where both may be.
DEB := $(B)/deb

deb: need-deb $(uplot) ## build the Debian package, in build/deb
	@rm -rf $(DEB) && mkdir -p $(DEB)/weir
	@tar -c --exclude-from=.gitignore --exclude=./build --exclude=./var --exclude=./.git . | tar -x -C $(DEB)/weir
	@cp -r app/deploy/debian $(DEB)/weir/debian
	cd $(DEB)/weir && MAKEFLAGS= MAKELEVEL=0 NPM=$(abspath $(NPM)) dpkg-buildpackage --build=binary --no-sign -j$(shell nproc)
	@rm -rf $(DEB)/weir
	@ls $(DEB)/*.deb

clean: ## remove what was built (var/, the state of `make run`, stays)
	rm -rf $(B)

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

need-%:
	@.ci/packages $*
