# hwflow without Timeloop: coarse, mid, training and pruning on a CPU.
#
#   make wheel && docker build -f docker/slim.Dockerfile -t hwflow-slim .
ARG PYTHON=3.12
ARG UV=ghcr.io/astral-sh/uv:0.8.22

# hadolint ignore=DL3006
FROM ${UV} AS uv

FROM python:${PYTHON}-slim
ARG EXTRAS=onnx,prune,sweep,report
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
COPY --from=uv /uv /usr/local/bin/uv
COPY dist/*.whl /tmp/dist/
ENV UV_NO_CACHE=1
RUN wheel="$(find /tmp/dist -name '*.whl')" \
    && uv pip install --system --torch-backend cpu "hwflow[${EXTRAS}] @ file://${wheel}" \
    && install -d -m 1777 /cache /work \
    && useradd --uid 10001 --create-home --shell /usr/sbin/nologin hwflow \
    && rm -r /tmp/dist

USER 10001
ENV HOME=/home/hwflow XDG_CACHE_HOME=/cache
VOLUME /cache
WORKDIR /work
ENTRYPOINT ["hwflow"]
CMD ["doctor"]
