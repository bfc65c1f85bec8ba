# The server without torch: docker build -t alexnet-server . && docker run -p 8000:8000 -v $PWD/artifacts:/data/artifacts alexnet-server
FROM python:3.13-slim AS build
WORKDIR /source
RUN python -m venv /opt/alexnet
COPY pyproject.toml README.md LICENSE cli.py ./
COPY model model
COPY index index
COPY training training
COPY server server
RUN /opt/alexnet/bin/pip install --no-cache-dir '.[cpu]'

FROM python:3.13-slim
COPY --from=build /opt/alexnet /opt/alexnet
RUN useradd --create-home --home-dir /data --uid 1000 alexnet
USER alexnet
WORKDIR /data
ENV PATH=/opt/alexnet/bin:$PATH PYTHONUNBUFFERED=1
EXPOSE 8000
HEALTHCHECK CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/ready', timeout=3)"]
ENTRYPOINT ["alexnet"]
CMD ["serve", "--host", "0.0.0.0"]
