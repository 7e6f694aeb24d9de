# Stands in for python:3.12-slim-bookworm where it cannot be pulled: Debian's Python, in an environment of its own.
FROM debian:bookworm-slim
RUN apt-get update -q && apt-get install -y -q --no-install-recommends python3-venv && rm -rf /var/lib/apt/lists/* && python3 -m venv /opt/python
ENV PATH=/opt/python/bin:$PATH
