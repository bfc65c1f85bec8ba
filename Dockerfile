# The server without torch is the last stage and the default:
#   docker build --tag alexnet-server .
#   docker run --publish 8000:8000 --read-only --tmpfs /tmp --volume "$PWD/artifacts:/data/artifacts:ro" alexnet-server
# For a GPU: --target gpu. To train: --target train. `make images` builds and runs all three with podman.
FROM debian:bookworm-slim AS base
# no versions: Debian's security fixes are wanted
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends ca-certificates python3 && rm -rf /var/lib/apt/lists/*
RUN useradd --create-home --home-dir /data --uid 1000 alexnet && mkdir /data/artifacts /data/indexes && chown alexnet: /data/*
WORKDIR /data
ENV PATH=/opt/alexnet/bin:/usr/local/bin:/usr/bin:/bin
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1

FROM base AS build
# no versions: Debian's security fixes are wanted
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends python3-venv && rm -rf /var/lib/apt/lists/*
WORKDIR /source
RUN python3 -m venv /opt/alexnet
COPY constraints.txt pyproject.toml README.md LICENSE ./
COPY alexnet alexnet
COPY model model
COPY index index
COPY training training
COPY server server

FROM build AS build-cpu
# for an index on Milvus: --build-arg EXTRAS=milvus
ARG EXTRAS=
RUN /opt/alexnet/bin/pip install --no-cache-dir --constraint constraints.txt ".${EXTRAS:+[$EXTRAS]}" \
    && /opt/alexnet/bin/pip uninstall --yes setuptools pip \
    && find /opt/alexnet -type d -name tests -prune -exec rm -r {} +

FROM build AS build-gpu
COPY requirements-gpu.txt ./
RUN /opt/alexnet/bin/pip install --no-cache-dir --constraint constraints.txt . \
    && /opt/alexnet/bin/pip uninstall --yes onnxruntime faiss-cpu \
    && /opt/alexnet/bin/pip install --no-cache-dir --constraint constraints.txt --requirement requirements-gpu.txt \
    && /opt/alexnet/bin/pip uninstall --yes setuptools pip \
    && find /opt/alexnet -type d -name tests -prune -exec rm -r {} +

FROM build AS build-train
RUN /opt/alexnet/bin/pip install --no-cache-dir --constraint constraints.txt '.[train,pull]'

FROM base AS train
COPY --from=build-train /opt/alexnet /opt/alexnet
# by default numba caches compiled loops beside the source, where the user can't write
ENV NUMBA_CACHE_DIR=/tmp/numba NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 1000
ENTRYPOINT ["alexnet"]
CMD ["train", "--help"]

# what gpu and cpu share
FROM base AS server
# variables, so that they also apply to commands other than CMD; the health check ignores proxies in the environment
ENV ALEXNET_HOST=0.0.0.0 ALEXNET_PORT=8000
EXPOSE 8000
HEALTHCHECK --start-period=60s CMD ["python", "-c", "import os, urllib.request; urllib.request.build_opener(urllib.request.ProxyHandler({})).open(f'http://127.0.0.1:{os.environ[\"ALEXNET_PORT\"]}/live', timeout=3)"]
ENTRYPOINT ["alexnet"]

FROM server AS gpu
COPY --from=build-gpu /opt/alexnet /opt/alexnet
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 1000
CMD ["serve", "--device", "cuda"]

FROM server AS cpu
COPY --from=build-cpu /opt/alexnet /opt/alexnet
USER 1000
CMD ["serve"]
