# Every command works in a fresh clone with Python 3.11, 3.12 or 3.13; environments are created as needed.
PYTHON ?= python3
DEMO := .venv-demo
DEV := .venv
MILVUS := .venv-milvus
EXCLUSIVE = $$(grep --recursive --files-with-matches --include='*.py' 'mark\.exclusive' tests)
PIP_OPTIONS := --quiet --disable-pip-version-check --no-compile
# Bytecode is written at the first import, not for all files during installation.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: python demo test coverage test-milvus test-postgres test-networks test-slow check format pre-commit clean chromium hosts constraints constraints-dev images package audit docs

python: ## refuse an older Python in one sentence
	@$(PYTHON) -c 'import sys; sys.version_info < (3, 11) and sys.exit("alexnet-server needs Python 3.11 or newer, and $(PYTHON) is %d.%d: make PYTHON=python3.11" % sys.version_info[:2])'

demo: $(DEMO)/installed ## serve the bundled network and an index of 1,000 photographs on http://127.0.0.1:8000
	$(DEMO)/bin/alexnet demo $(if $(PORT),--port $(PORT))

test: chromium hosts ## all tests of continuous integration
	$(MAKE) --jobs 2 --output-sync check package test-milvus test-networks
	OMP_NUM_THREADS=1 $(DEV)/bin/pytest -m "not slow and not exclusive" --numprocesses 3 --dist loadfile --ignore tests/milvus
	$(DEV)/bin/pytest -m "exclusive and not slow" $(EXCLUSIVE)

coverage: $(DEV)/installed chromium hosts ## branch coverage of the tests of `make test`, subprocesses included
	rm -rf build/coverage
	OMP_NUM_THREADS=1 $(DEV)/bin/coverage run -m pytest -m "not slow and not exclusive" --numprocesses 3 --dist loadfile --ignore tests/milvus
	$(DEV)/bin/coverage run -m pytest -m "exclusive and not slow" $(EXCLUSIVE)
	$(DEV)/bin/coverage combine --quiet
	$(DEV)/bin/coverage report

test-networks: $(DEV)/installed ## train the tests' small network, which later runs reuse
	OMP_NUM_THREADS=1 $(DEV)/bin/pytest --quiet tests/unit/server/routes/test_health.py tests/unit/model/artifacts/test_packed.py

test-milvus: $(MILVUS)/installed ## tests of the Milvus index, in an environment of its own
	$(MILVUS)/bin/pytest tests/milvus tests/contract

test-postgres: $(DEV)/installed ## tests of the index on PostgreSQL, with a real server; part of `make test`
	$(DEV)/bin/pytest tests/postgres tests/contract

test-slow: $(DEV)/installed chromium hosts ## all tests, including minutes of training
	$(DEV)/bin/pytest -m "slow or not slow"

check: $(DEV)/installed ## lint, format, spelling, types, import contracts
	$(DEV)/bin/ruff check .
	$(DEV)/bin/ruff format --check .
	$(DEV)/bin/codespell
	$(DEV)/bin/mypy
	$(DEV)/bin/lint-imports

format: $(DEV)/installed ## fix lint findings and format the source
	$(DEV)/bin/ruff check --fix .
	$(DEV)/bin/ruff format .

pre-commit: $(DEV)/installed ## run the quick checks before each commit
	$(DEV)/bin/pre-commit install

chromium: ## install the browser of the page tests (Debian), if missing
	command -v chromium >/dev/null || (apt-get update --quiet && apt-get install --quiet --yes chromium)

hosts: ## install what the multi-host tests need (Debian), if missing
	(export PATH="$$PATH:/usr/sbin"; command -v haproxy && command -v ip) >/dev/null || (apt-get update --quiet && apt-get install --quiet --yes haproxy iproute2)

constraints: python ## pin the versions of the container images in constraints.txt
	rm -rf build/constraints && $(PYTHON) -m venv build/constraints
	build/constraints/bin/pip install $(PIP_OPTIONS) '.[train,pull,milvus,postgres]'
	build/constraints/bin/pip freeze --exclude alexnet-server | sed -e 's/ @ .*//' -e 's/+cpu$$//' > constraints.txt

constraints-dev: python ## pin the versions of the developers' environment in constraints-dev.txt
	rm -rf build/constraints-dev && $(PYTHON) -m venv build/constraints-dev
	build/constraints-dev/bin/pip install $(PIP_OPTIONS) --upgrade pip
	build/constraints-dev/bin/pip install $(PIP_OPTIONS) '.[train,demo]' --group dev
	build/constraints-dev/bin/pip freeze --exclude alexnet-server | sed -e 's/ @ .*//' -e 's/+cpu$$//' > constraints-dev.txt

images: $(DEV)/installed ## build the images with podman and run them, without a registry (Debian); needs root
	(command -v podman && command -v buildah && command -v runc && command -v debootstrap) >/dev/null || \
		(apt-get update --quiet && apt-get install --quiet --yes --no-install-recommends podman buildah runc debootstrap)
	$(DEV)/bin/python deploy/build_images.py cpu train gpu

package: $(DEV)/installed ## build wheels and source archive, and install the wheels in a new environment
	rm -rf dist build/package build/clients && mkdir -p build
	$(DEV)/bin/python -m build --quiet --outdir dist .
	$(DEV)/bin/python -m build --quiet --outdir build/clients clients/python
	$(PYTHON) -m zipfile --list dist/*.whl | awk 'NR > 1 && !/dist-info/ {print $$1}' | sort > build/wheel
	git ls-files alexnet model index training server | sort | diff - build/wheel
	tar -tzf dist/*.tar.gz | sed 's|^[^/]*/||' | grep -vx PKG-INFO | sort > build/sdist
	git ls-files | sort | diff - build/sdist
	$(PYTHON) -m venv build/package
	build/package/bin/pip install $(PIP_OPTIONS) --constraint constraints.txt dist/*.whl build/clients/*.whl
	cd build/package && bin/alexnet --help >/dev/null && bin/python -c "import alexnet_client, server.app; from model.artifacts.packed import unpack_bundled; from pathlib import Path; [unpack_bundled(name, Path('artifacts')) for name in ('photos', 'elpv')]"

audit: python ## look for known vulnerabilities in the pinned versions, and write a bill of materials; needs the network
	$(PYTHON) -m venv build/audit
	build/audit/bin/pip install $(PIP_OPTIONS) --upgrade pip
	build/audit/bin/pip install $(PIP_OPTIONS) --group audit
	build/audit/bin/cyclonedx-py requirements constraints.txt --output-file build/sbom.json
	build/audit/bin/pip-audit --requirement constraints.txt --disable-pip --no-deps

docs: python ## build the documentation site in build/site
	$(PYTHON) -m venv build/docs
	build/docs/bin/pip install $(PIP_OPTIONS) --upgrade pip
	build/docs/bin/pip install $(PIP_OPTIONS) -e . --group docs
	PYTHONPATH=. build/docs/bin/mkdocs build --strict --quiet
	@echo "build/site/index.html"

$(DEMO)/installed: pyproject.toml | python
	@echo "installing the server in $(DEMO): a minute or two, once"
	$(PYTHON) -m venv $(DEMO)
	$(DEMO)/bin/pip install $(PIP_OPTIONS) -e .
	touch $@

$(DEV)/installed: pyproject.toml clients/python/pyproject.toml constraints-dev.txt | python
	$(PYTHON) -m venv $(DEV)
	$(DEV)/bin/pip install $(PIP_OPTIONS) --upgrade pip
	$(DEV)/bin/pip install $(PIP_OPTIONS) --constraint constraints-dev.txt -e '.[train,demo]' -e clients/python --group dev
	touch $@

$(MILVUS)/installed: pyproject.toml | python
	$(PYTHON) -m venv $(MILVUS)
	$(MILVUS)/bin/pip install $(PIP_OPTIONS) --upgrade pip
	$(MILVUS)/bin/pip install $(PIP_OPTIONS) -e . --group milvus-test
	touch $@

clean: ## remove environments, build outputs and tool caches; artifacts, indexes, runs, cache and data stay
	rm -rf $(DEMO) $(DEV) $(MILVUS) build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
