# One image for every command: `serve`, `sidecar`, `control-plane`, `migrate`, `health`.
#
#   docker build --tag extauthz .
#   docker run --rm --read-only extauthz --help
#
# Everything installed comes from uv.lock, by hash (deploy/image/*.txt, written by `make lock`), as wheels:
# no compiler is needed, so none is in either stage. The final stage runs nothing, it only copies; what the
# build stage does is executed by tests/packaging/test_image_install.py, line by line from this file.
#
# The base is pinned by exact tag; docs/adr/0010-image-base-by-tag.md says why not by digest, and how to add one.

FROM python:3.11.14-slim-bookworm AS build
ARG PREFIX=/opt/extauthz
ARG BUILD=/opt/build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src

COPY deploy/image/requirements.txt deploy/image/build-requirements.txt deploy/image/
RUN python -m venv "${BUILD}" \
 && python -m venv --without-pip "${PREFIX}" \
 && "${BUILD}/bin/python" -m pip install --quiet --require-hashes --only-binary :all: \
      --requirement deploy/image/build-requirements.txt \
 && "${BUILD}/bin/python" -m pip --python "${PREFIX}/bin/python" install --quiet --require-hashes --only-binary :all: \
      --requirement deploy/image/requirements.txt

COPY pyproject.toml README.md LICENSE ./
COPY docs/schema/ docs/schema/
COPY envoy/ envoy/
COPY migrations/ migrations/
COPY policies/ policies/
COPY extauthz/ extauthz/
RUN "${BUILD}/bin/python" -m pip wheel --quiet --no-index --no-deps --no-build-isolation --wheel-dir "${BUILD}/wheel" . \
 && "${BUILD}/bin/python" -m pip --python "${PREFIX}/bin/python" install --quiet --no-index --no-deps "${BUILD}"/wheel/*.whl \
 && "${BUILD}/bin/python" -m pip --python "${PREFIX}/bin/python" check

FROM python:3.11.14-slim-bookworm
ARG PREFIX=/opt/extauthz
LABEL org.opencontainers.image.title="extauthz" \
      org.opencontainers.image.description="Envoy external authorization" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build ${PREFIX} ${PREFIX}

# SAFEPATH: no module is ever imported from the working directory. DONTWRITEBYTECODE: nothing is written but
# the decision log, and that goes to stdout unless DECISION_LOG says otherwise.
ENV PATH="${PREFIX}/bin:/usr/local/bin:/usr/bin:/bin" \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONSAFEPATH=1 \
    PYTHONUNBUFFERED=1

# By number, so that `runAsNonRoot` can be checked without /etc/passwd.
USER 65532:65532
WORKDIR /
# REST, the sidecar's health and metrics, gRPC checks of the first worker.
EXPOSE 8080 9190 9191
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 CMD ["extauthz", "health"]
ENTRYPOINT ["extauthz"]
CMD ["serve"]
