# The control plane's image. The API, every agent and the migration are one program, started with different arguments:
#
#   docker build --tag tradewise/tradewise:0.1.0 .
#   docker run tradewise/tradewise:0.1.0 agent poller
#
# For production name the base by digest: --build-arg PYTHON_IMAGE=python:3.13-slim@sha256:…
ARG PYTHON_IMAGE=python:3.13-slim

# Builds the wheel, the dashboard's assets in it, with the same pinned, hash-checked tools as `make build` (Node.js
# included, which is why there is no second base image). Nothing of this stage reaches the last one but /opt/tradewise.
FROM ${PYTHON_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src

# What it runs on comes first: these layers are made again only when the lock files change.
COPY requirements/ requirements/
RUN python -m venv --without-pip /opt/tradewise
RUN pip --python /opt/tradewise/bin/python install --require-hashes --only-binary :all: -r requirements/runtime.txt
RUN pip install --require-hashes --only-binary :all: -r requirements/build.txt -r requirements/node.txt

COPY . .
RUN pip wheel --no-deps --no-build-isolation --wheel-dir /wheels .
RUN pip --python /opt/tradewise/bin/python install --no-deps --no-index --find-links /wheels tradewise

FROM ${PYTHON_IMAGE}
LABEL org.opencontainers.image.title="TradeWise" \
      org.opencontainers.image.description="A multi-tenant control plane that hosts, watches and shares trading bots." \
      org.opencontainers.image.licenses="Apache-2.0"

# A fixed number, so that `runAsNonRoot` can be checked and files mounted for the group 10001 are readable.
RUN groupadd --gid 10001 tradewise \
 && useradd --uid 10001 --gid 10001 --no-create-home --shell /usr/sbin/nologin tradewise
COPY --from=build /opt/tradewise /opt/tradewise
ENV PATH=/opt/tradewise/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001:10001

EXPOSE 8000 9000
# For the API; an agent has none of port 8000: start it with --no-healthcheck or ask its port 9000 (Kubernetes ignores this).
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s --retries=4 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/health/live', timeout=4)"]
ENTRYPOINT ["tradewise"]
CMD ["api", "--host", "0.0.0.0", "--port", "8000"]
