# make serve    the service on 127.0.0.1:8000, in an environment of its own (no PyTorch)
# make test     linters, types, import contracts and all tests: what CI runs
# make page-test  the page in a real browser: Debian's Chromium, or the one FOLDSERVE_CHROMIUM names
# make clients  the unmodified clients that need environments of their own, against a real server
# make format   puts the code into shape
# make bundles  trains and writes the shipped bundles anew, as the next versions
# make image    docker build; make image-test builds and runs the image without a container engine
# make clean    removes the environments

PYTHON ?= python3
SERVE := .venv-serve
DEV := .venv
# A builder and tester of images for machines without a container engine, where there is one.
IMAGE_TEST ?= ../shared/image_test.sh

CLIENTS := .venv-kserve .venv-mlserver

.PHONY: serve test check page-test clients format bundles image image-test clean

serve: $(SERVE)/.installed
	@exec $(SERVE)/bin/python -m service

# The page's own tests are not among these: a browser is not everywhere, and it measures what a person
# waits for, which tests that run beside it would disturb. CI runs both.
test: check
	$(DEV)/bin/python -m pytest --cov --numprocesses 2 --dist loadfile --ignore tests/page

# As root on Debian the browser is installed; elsewhere it is used where there is one.
page-test: $(DEV)/.installed
	@if [ -z "$$FOLDSERVE_CHROMIUM" ] && ! command -v chromium >/dev/null && \
		[ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		{ apt-get update && apt-get install --yes --no-install-recommends chromium; } >/dev/null 2>&1 || true; \
	fi
	@if [ -n "$$FOLDSERVE_CHROMIUM" ] || command -v chromium >/dev/null; then \
		$(DEV)/bin/python -m pytest tests/page; \
	else \
		echo "page-test: expected chromium (apt-get install chromium), or FOLDSERVE_CHROMIUM; not run"; \
	fi

check: $(DEV)/.installed
	$(DEV)/bin/ruff check .
	$(DEV)/bin/ruff format --check .
	$(DEV)/bin/mypy
	$(DEV)/bin/lint-imports

clients: $(DEV)/.installed $(CLIENTS:=/.installed)
	$(DEV)/bin/python -m pytest tests/clients

format: $(DEV)/.installed
	$(DEV)/bin/ruff check --fix .
	$(DEV)/bin/ruff format .

bundles: $(DEV)/.installed
	$(DEV)/bin/foldserve train mnist-cnn --bundle models
	$(DEV)/bin/foldserve train fashion-cnn --bundle models

image:
	docker build -t foldserve .

image-test:
	@if [ -x "$(IMAGE_TEST)" ] && [ "$$(id -u)" = 0 ]; then \
		GET_PATH=/v2/health/ready "$(IMAGE_TEST)" . -- $(PYTHON) tests/image_check.py; \
	else \
		echo "image-test: expected an image builder at $(IMAGE_TEST) and root; use make image"; \
	fi

# A stamp is written last, so that an interrupted installation is done again.
$(SERVE)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(SERVE)
	$(SERVE)/bin/python -m pip install --quiet --constraint constraints.txt --editable .
	@touch $@

$(DEV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(DEV)
	$(DEV)/bin/python -m pip install --quiet --constraint constraints.txt torch==2.13.0
	$(DEV)/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

.venv-%/.installed: tests/clients/%.txt
	$(PYTHON) -m venv .venv-$*
	.venv-$*/bin/python -m pip install --quiet --only-binary :all: --requirement $<
	@touch $@

clean:
	rm -rf $(SERVE) $(DEV) $(CLIENTS)
