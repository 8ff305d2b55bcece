# The image: one static binary, the certificates that it trusts, and nothing else; no shell, no root.
#
#   docker build --build-arg REVISION="$(git rev-parse --short=12 HEAD)" -t vllm-prober:0.1.0 .
#   docker run -p 127.0.0.1:10016:10016 -v "$PWD/config:/etc/vllm-prober:ro" -v vllm-prober:/var/lib/vllm-prober vllm-prober:0.1.0

FROM rust:1.95.0-slim-bookworm AS build
# musl, so that the binary needs no library of its image. ca-certificates is what the final image trusts.
RUN apt-get update \
 && apt-get install -y --no-install-recommends musl-tools ca-certificates \
 && rm -rf /var/lib/apt/lists/* \
 && rustup target add "$(uname -m)-unknown-linux-musl"
WORKDIR /src
COPY . .
ARG REVISION=unknown
ENV VLLM_PROBER_REVISION=$REVISION
RUN cargo build --release --locked --bin vllm-prober --target "$(uname -m)-unknown-linux-musl"
# The final image as a tree, so that one copy makes one layer. /tmp is for SQLite when a query outgrows its memory.
RUN mkdir -p /image/usr/local/bin /image/etc/ssl/certs /image/etc/vllm-prober/prompts /state/vllm-prober \
 && install -d -m 1777 /image/tmp \
 && cp "target/$(uname -m)-unknown-linux-musl/release/vllm-prober" /image/usr/local/bin/ \
 && cp /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/ \
 && cp config/prompts/reference.txt /image/etc/vllm-prober/prompts/

FROM scratch
ARG REVISION=unknown
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="vllm-prober" \
      org.opencontainers.image.description="Prometheus exporter and continuous prober for vLLM deployments" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"
COPY --from=build /image/ /
COPY --from=build --chown=65532:65532 /state/ /var/lib/
USER 65532:65532
WORKDIR /var/lib/vllm-prober
VOLUME /var/lib/vllm-prober
EXPOSE 10016
# Ready, not only alive: what starts after this container finds the history open and the schedule running.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
  CMD ["/usr/local/bin/vllm-prober", "health", "--url", "http://127.0.0.1:10016/-/ready"]
ENTRYPOINT ["/usr/local/bin/vllm-prober"]
CMD ["serve", "--config.file", "/etc/vllm-prober/prober.yaml", "--storage.path", "/var/lib/vllm-prober"]
