# The image of all parties of a federation, and of the register: docs/containers.md.
#   docker build -t fed-vehicle-reid .
# BASE: Debian 12, or a root of your own (buildah, debootstrap). TORCH: cpu, or a CUDA version such as cu130, from PyTorch's
# own index; empty for the torch of the package index, which brings CUDA.
ARG BASE=debian:bookworm-slim

# hadolint ignore=DL3006
FROM ${BASE} AS python
# Versions are those of the Debian release that BASE names.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates python3 \
    && rm -rf /var/lib/apt/lists/*

FROM python AS build
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3-venv \
    && rm -rf /var/lib/apt/lists/*
COPY constraints.txt /src/
RUN python3 -m venv /src/uv \
    && /src/uv/bin/pip install --no-cache-dir --constraint /src/constraints.txt uv \
    && python3 -m venv --without-pip /opt/fed-vehicle-reid/.venv
WORKDIR /opt/fed-vehicle-reid
COPY pyproject.toml README.md LICENSE .gitignore ./
COPY app app
COPY conf conf
COPY models models
COPY scripts scripts
COPY strategies strategies
# Byte code is made here: nobody can write it into a running container, and each process would compile torch anew. One
# of torch's own tests is in a later Python's language.
ARG TORCH=cpu
ARG EXTRAS=metrics,mqtt,onnx,postgresql
ENV UV_LINK_MODE=copy
RUN VIRTUAL_ENV=/opt/fed-vehicle-reid/.venv /src/uv/bin/uv pip install ${TORCH:+--torch-backend=$TORCH} \
        --constraint /src/constraints.txt --editable ".[$EXTRAS]" \
    && chmod -R go+rX . \
    && python3 -m compileall -q -j 0 -x torch/testing/_internal .venv/lib app models scripts strategies

FROM python
RUN useradd --system --uid 10001 --user-group --no-create-home --home-dir /cache fed-vehicle-reid \
    && install -d -o 10001 -g 10001 -m 700 /cache /federation /images /models /register
COPY --from=build /opt/fed-vehicle-reid /opt/fed-vehicle-reid
ENV PATH=/opt/fed-vehicle-reid/.venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    HOME=/cache XDG_CACHE_HOME=/cache \
    REGISTER=/register \
    PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 10001:10001
# Not the project's folder: Python would look for modules there first.
WORKDIR /cache
CMD ["fed-vehicle-reid", "--help"]
