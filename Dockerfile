# Atelier's image: every command of `atelier`, a worker by default.
#
#     docker build --tag atelier:cpu .
#     docker build --tag atelier:gpu --build-arg EXTRA=gpu .
#
# The base is pinned by its patch release, which rebuilds with security updates of Debian. For a
# build that is the same bit by bit, pin the digest too:
#     docker buildx imagetools inspect python:3.12.15-slim-bookworm
#     docker build --build-arg PYTHON_IMAGE=python:3.12.15-slim-bookworm@sha256:<digest> .
ARG PYTHON_IMAGE=python:3.12.15-slim-bookworm


FROM ${PYTHON_IMAGE} AS build

ENV PATH=/opt/atelier/bin:$PATH \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore

WORKDIR /build

# Without pip: the image that runs has nothing in its environment to install with.
RUN python -m venv --without-pip /opt/atelier

# The locked packages first: this layer is kept until a lock changes. `--only-binary`, since a
# source package would fetch build tools that no lock names.
ARG EXTRA=cpu
COPY requirements.lock requirements-gpu.lock ./
RUN --mount=type=cache,target=/root/.cache/pip \
    case "$EXTRA" in \
        cpu) lock=requirements.lock ;; \
        gpu) lock=requirements-gpu.lock ;; \
        *) echo "the build argument EXTRA is cpu or gpu, got '$EXTRA'" >&2; exit 2 ;; \
    esac \
    && pip --python /opt/atelier/bin/python install \
        --require-hashes --only-binary :all: --requirement "$lock"

# Then the project. `--no-index --no-build-isolation`: nothing is fetched any more; it is built
# with the locked setuptools, which TensorFlow brings along.
COPY LICENSE README.md pyproject.toml ./
COPY migrations ./migrations
COPY tagging ./tagging
COPY model_training ./model_training
COPY worker ./worker
RUN pip --python /opt/atelier/bin/python install \
        --no-cache-dir --no-index --no-deps --no-build-isolation .

# No image without a shipped model whose files all verify, nor one whose commands cannot start.
RUN ATELIER_HOME=/tmp/atelier-check /opt/atelier/bin/atelier check


FROM ${PYTHON_IMAGE} AS runtime

LABEL org.opencontainers.image.title="Atelier" \
      org.opencontainers.image.description="Tags fashion catalogues: photos in, categories with a measured error rate out" \
      org.opencontainers.image.licenses="Apache-2.0"

# A fixed number, so that the owner of a volume is the same on every machine, and so that an
# orchestrator can see that it is not root. Named volumes take over owner and mode of the folder
# in the image that they are first mounted on: the data folder is for this account alone, the image
# store may be shared with a group.
RUN groupadd --gid 10001 atelier \
    && useradd --uid 10001 --gid 10001 --home-dir /data --no-create-home \
        --shell /usr/sbin/nologin atelier \
    && install --directory --owner 10001 --group 10001 --mode 0700 /data \
    && install --directory --owner 10001 --group 10001 --mode 0750 /images

COPY --from=build /opt/atelier /opt/atelier
COPY deploy/health.py /opt/atelier/health.py

# KERAS_HOME: Keras writes a configuration file at import, and the root file system may be
# read-only. It must not lie on a volume either, where it would outlive the release that wrote it.
ENV PATH=/opt/atelier/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    TF_CPP_MIN_LOG_LEVEL=2 \
    KERAS_BACKEND=tensorflow \
    KERAS_HOME=/tmp/keras \
    ATELIER_HOME=/data

WORKDIR /data
USER 10001:10001
VOLUME ["/data"]

# A worker gives back what it has in hand within 10 s; let `docker stop --time 20` wait longer.
STOPSIGNAL SIGTERM

# For `worker` and `watch`; run other commands with --no-healthcheck. The timeout must be longer
# than the 12 s that the script gives a thread to move.
HEALTHCHECK --interval=30s --timeout=20s --start-period=120s --retries=3 \
    CMD ["python", "-I", "-S", "/opt/atelier/health.py"]

ENTRYPOINT ["atelier"]
CMD ["worker"]
