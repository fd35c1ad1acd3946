# Other registries, or images of your own: docker compose build --build-arg PYTHON_IMAGE=…
ARG NODE_IMAGE=node:24-slim
ARG PYTHON_IMAGE=python:3.11-slim

FROM ${NODE_IMAGE} AS dbmate
WORKDIR /dbmate
RUN npm install --no-save --no-package-lock --no-audit --no-fund --ignore-scripts dbmate@2.36.0 \
    && install -D node_modules/@dbmate/linux-*/bin/dbmate bin/dbmate

FROM ${PYTHON_IMAGE} AS builder
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /build
# pip checks the hash of every package here; the steps below install only from these wheels.
COPY requirements.lock ./
RUN pip wheel --require-hashes --no-deps --wheel-dir /wheels -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY engine engine
COPY handlers handlers
COPY http http
COPY orderflow orderflow
COPY ui ui
COPY db db
RUN pip wheel --no-index --find-links /wheels --no-deps --wheel-dir /wheels .
RUN python -m venv /opt/orderflow \
    && /opt/orderflow/bin/pip install --no-index --find-links /wheels 'orderflow[otel]'

FROM ${PYTHON_IMAGE} AS runtime
ENV PATH=/opt/orderflow/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
RUN useradd --system --uid 10001 --create-home orderflow
COPY --from=dbmate /dbmate/bin/dbmate /usr/local/bin/dbmate
COPY --from=builder /opt/orderflow /opt/orderflow
USER orderflow
WORKDIR /home/orderflow
CMD ["orderflow", "--help"]

FROM runtime AS tests
USER root
# libatomic1: for the Node.js that playwright brings.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends chromium git libatomic1 make nginx \
    && rm -rf /var/lib/apt/lists/*
RUN --mount=type=bind,from=builder,source=/wheels,target=/wheels \
    pip install --no-index --find-links /wheels "orderflow[dev,services]"
WORKDIR /home/orderflow/checkout
COPY --chown=orderflow:orderflow . .
RUN chown orderflow:orderflow .
USER orderflow
CMD ["python", "-m", "pytest"]
