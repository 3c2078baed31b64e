# The drivers without an SDK.
FROM python:3.11-slim-bookworm AS driver
COPY conformance/drivers /drivers
RUN useradd --create-home driver
USER driver
WORKDIR /home/driver

FROM driver AS http
ENTRYPOINT ["python", "/drivers/http/driver.py"]

FROM driver AS original
ENTRYPOINT ["python", "/drivers/original/driver.py"]
