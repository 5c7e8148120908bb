# The agent: archon-agent without compilers or a Git binary.
# docker build --tag archon-agent .
ARG PYTHON_IMAGE=docker.io/library/python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
COPY requirements/build.txt requirements/runtime.txt requirements/
RUN python3 -m venv /opt/archon \
    && /opt/archon/bin/pip install --no-deps --require-hashes -r requirements/runtime.txt \
    && python3 -m venv /opt/build \
    && /opt/build/bin/pip install --no-deps --require-hashes -r requirements/build.txt
COPY pyproject.toml README.md LICENSE ./
COPY core core
COPY archon_agent archon_agent
# Of the AWS client's descriptions of 400 services, the agent reads those it talks to.
RUN /opt/build/bin/pip wheel --no-build-isolation --no-deps --wheel-dir dist . \
    && /opt/archon/bin/pip install --no-index --no-deps dist/*.whl \
    && find /opt/archon/lib/python3*/site-packages/botocore/data -mindepth 1 -maxdepth 1 -type d \
       ! -name s3 ! -name sts ! -name sso ! -name sso-oidc ! -name secretsmanager -exec rm -r {} + \
    && /opt/archon/bin/pip uninstall --yes --quiet textual setuptools pip

FROM ${PYTHON_IMAGE}
LABEL org.opencontainers.image.title="archon-agent" \
      org.opencontainers.image.description="Consumes ingestion requests and makes intelligence records" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/archon /opt/archon
RUN ["install", "--directory", "--mode=1777", "--owner=10001", "--group=10001", "/var/lib/archon"]
ENV PATH=/opt/archon/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    ARCHON_HOME=/var/lib/archon \
    ARCHON_HTTP=0.0.0.0:9464 \
    TMPDIR=/var/lib/archon
WORKDIR /var/lib/archon
USER 10001:10001
EXPOSE 9464
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s --retries=3 \
    CMD ["/opt/archon/bin/python", "-m", "archon_agent.healthcheck"]
ENTRYPOINT ["/opt/archon/bin/archon-agent"]
CMD ["run"]
