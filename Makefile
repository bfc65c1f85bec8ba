# Every command works in a fresh clone with Python 3.11 or newer; environments are made as needed.
PYTHON ?= python3
DEMO := .venv-demo
DEV := .venv
MILVUS := .venv-milvus
# their processes need the cores to themselves, as all of tests/faults and tests/page
TOWERS := tests/system/test_towers.py

.PHONY: demo test test-milvus test-slow check format clean chromium hosts constraints prove-images package audit docs

demo: $(DEMO)/installed ## unpack the bundled network, index the solar cells, serve both on http://127.0.0.1:8000
	$(DEMO)/bin/alexnet demo

test: chromium hosts ## everything that continuous integration runs
	$(MAKE) --jobs 2 --output-sync check $(MILVUS)/installed
	OMP_NUM_THREADS=1 $(DEV)/bin/pytest --numprocesses 2 --dist loadfile tests/unit tests/project tests/system --ignore $(TOWERS)
	$(DEV)/bin/pytest $(TOWERS) tests/faults tests/page
	$(MAKE) --jobs 2 --output-sync test-milvus package

test-milvus: $(MILVUS)/installed ## an index on Milvus, embedded, in an environment of its own
	$(MILVUS)/bin/pytest tests/milvus

test-slow: $(DEV)/installed chromium hosts ## minutes of real training on top
	$(DEV)/bin/pytest -m "slow or not slow"

check: $(DEV)/installed ## lint, format, types, import rules
	$(DEV)/bin/ruff check .
	$(DEV)/bin/ruff format --check .
	$(DEV)/bin/mypy
	$(DEV)/bin/lint-imports

chromium: ## the browser of the page's tests, from Debian, where there is none
	command -v chromium >/dev/null || (apt-get update --quiet && apt-get install --quiet --yes chromium)

hosts: ## what makes hosts of one machine for tests, and the balancer between them, from Debian, where there is none
	(command -v haproxy && command -v ip) >/dev/null || (apt-get update --quiet && apt-get install --quiet --yes haproxy iproute2)

constraints: ## the versions that images are built with, as they are found by a new environment
	rm -rf build/constraints && $(PYTHON) -m venv build/constraints
	build/constraints/bin/pip install --quiet --disable-pip-version-check '.[cpu,train,pull,milvus]'
	build/constraints/bin/pip freeze --exclude alexnet-server | sed -e 's/ @ .*//' -e 's/+cpu$$//' > constraints.txt

prove-images: $(DEV)/installed ## the Dockerfile's stages in fresh Debian roots, without Docker; needs root
	command -v debootstrap >/dev/null || (apt-get update --quiet && apt-get install --quiet --yes debootstrap)
	rm -rf build/images
	$(DEV)/bin/python deploy/prove_images.py cpu train

package: $(DEV)/installed ## wheel and source archive, the wheel installed in an environment of its own
	rm -rf dist build/package && mkdir -p build
	$(DEV)/bin/python -m build --quiet --outdir dist .
	$(PYTHON) -m zipfile --list dist/*.whl | awk 'NR > 1 && !/dist-info/ {print $$1}' | sort > build/wheel
	git ls-files alexnet model index training server | sort | diff - build/wheel
	tar -tzf dist/*.tar.gz | sed 's|^[^/]*/||' | grep -vx PKG-INFO | sort > build/sdist
	git ls-files | sort | diff - build/sdist
	$(PYTHON) -m venv build/package
	build/package/bin/pip install --quiet --disable-pip-version-check --constraint constraints.txt "$$(echo dist/*.whl)[cpu]"
	cd build/package && bin/alexnet --help >/dev/null && bin/python -c "import server.app; from model.compact import unpack_bundled; from pathlib import Path; unpack_bundled('elpv', Path('artifacts'))"

audit: ## known vulnerabilities of the pinned versions, and a bill of materials; asks the network
	$(PYTHON) -m venv build/audit
	build/audit/bin/pip install --quiet --disable-pip-version-check '.[audit]'
	build/audit/bin/cyclonedx-py requirements constraints.txt --output-file build/sbom.json
	build/audit/bin/pip-audit --requirement constraints.txt --disable-pip --no-deps

docs: ## the documents as a site, in build/site
	$(PYTHON) -m venv build/docs
	build/docs/bin/pip install --quiet --disable-pip-version-check -e '.[cpu,docs]'
	PYTHONPATH=. build/docs/bin/mkdocs build --strict --quiet
	@echo "build/site/index.html"

format: $(DEV)/installed ## put the source in order
	$(DEV)/bin/ruff check --fix .
	$(DEV)/bin/ruff format .

$(DEMO)/installed: pyproject.toml
	$(PYTHON) -m venv $(DEMO)
	$(DEMO)/bin/pip install --quiet --disable-pip-version-check -e '.[cpu,demo]'
	touch $@

$(DEV)/installed: pyproject.toml
	$(PYTHON) -m venv $(DEV)
	$(DEV)/bin/pip install --quiet --disable-pip-version-check -e '.[cpu,train,demo,dev]'
	touch $@

$(MILVUS)/installed: pyproject.toml
	$(PYTHON) -m venv $(MILVUS)
	$(MILVUS)/bin/pip install --quiet --disable-pip-version-check -e '.[cpu,milvus-test]'
	touch $@

clean: ## what was made here, environments included; data/ stays, which was downloaded
	rm -rf $(DEMO) $(DEV) $(MILVUS) demo artifacts indexes cache runs build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
