FROM python:3.11-slim-bookworm AS build
WORKDIR /project
ENV PATH=/project/.venv/bin:$PATH UV_COMPILE_BYTECODE=1 UV_NO_CACHE=1

COPY requirements/meltano.txt requirements/
RUN python -m venv --without-pip .venv \
 && pip --python .venv install --no-cache-dir --require-hashes --requirement requirements/meltano.txt

COPY requirements/build.txt requirements/dbt.txt requirements/tap-toubib.txt requirements/target-duckdb.txt \
  requirements/
COPY connector/pyproject.toml connector/
COPY connector/toubib_connector/__init__.py connector/toubib_connector/
COPY tap-toubib/pyproject.toml tap-toubib/README.md tap-toubib/
COPY tap-toubib/tap_toubib/__init__.py tap-toubib/tap_toubib/
COPY target-duckdb/pyproject.toml target-duckdb/README.md target-duckdb/
COPY target-duckdb/target_duckdb_append/__init__.py target-duckdb/target_duckdb_append/
COPY meltano.yml ./
# links lead the files of a run out of the image; libraries of several plugins are stored once
RUN mkdir /data && ln -s /data data \
 && uv pip install --no-deps --build-constraints requirements/build.txt --editable connector \
 && meltano --log-level=warning install tap-toubib target-duckdb dbt \
 && rm -r .meltano/run .venv/bin/uv .venv/bin/uvx && ln -s /tmp .meltano/run \
 && hardlink --quiet --content --include '[.]so' .


FROM python:3.11-slim-bookworm AS connector
LABEL org.opencontainers.image.title="Toubib connector" \
      org.opencontainers.image.description="Replicates patients of a Toubib service into DuckDB, with their history" \
      org.opencontainers.image.licenses="MIT"
WORKDIR /project
ENV PATH=/project/.venv/bin:$PATH HOME=/tmp MELTANO_AUTO_INSTALL=false MELTANO_CLI_LOG_FORMAT=json

# uid 1000 is the first user of most Linux machines, who can mount a folder. The base image lacks the bytecode of the
# standard library, which every process of a run would compile again
RUN install --directory --owner=1000 --group=1000 --mode=0700 /data \
 && python -m compileall -q -x '/(tests?|site-packages)/' /usr/local/lib/python3.11
VOLUME /data

COPY --from=build /project ./
COPY connector connector
COPY tap-toubib tap-toubib
COPY target-duckdb target-duckdb
COPY transform transform
COPY logging.yaml ./
# readable whatever the umask of the checkout
RUN chmod -R a+rX connector logging.yaml meltano.yml tap-toubib target-duckdb transform \
 && python -m compileall -q connector tap-toubib target-duckdb

USER 1000:1000
# for a container that runs by schedule
HEALTHCHECK --interval=1m CMD ["toubib-connector", "healthy"]
ENTRYPOINT ["toubib-connector"]
CMD ["run"]
