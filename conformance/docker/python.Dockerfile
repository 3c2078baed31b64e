# The drivers of the Python SDK, with the SDK installed from its wheel.
FROM python:3.11-slim-bookworm AS pack
COPY sdk-python /src/sdk-python
RUN --mount=type=cache,target=/root/.cache/pip pip wheel --no-deps --wheel-dir /out /src/sdk-python

FROM python:3.11-slim-bookworm AS driver
RUN useradd --create-home driver && python -m venv /venv
COPY --from=pack /out /sdk
COPY conformance/drivers/python /driver
WORKDIR /home/driver

# The bare package: nothing of asyncio's is installed.
FROM driver AS python-sync
RUN --mount=type=cache,target=/root/.cache/pip /venv/bin/pip install /sdk/*.whl
USER driver
ENTRYPOINT ["/venv/bin/python", "/driver/threads.py"]

FROM driver AS python-async
RUN --mount=type=cache,target=/root/.cache/pip /venv/bin/pip install "$(echo /sdk/*.whl)[async]"
USER driver
ENTRYPOINT ["/venv/bin/python", "/driver/tasks.py"]
