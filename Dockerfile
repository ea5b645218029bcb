# syntax=docker/dockerfile:1
# One image for each of the five processes: docker build --build-arg BIN=gateway --tag plumbline/gateway .
# The five share every layer up to the last stage, and the dependencies' layer changes only with Cargo.lock and the manifests.

# The labels are the last stage's.
# hadolint ignore=DL3049
FROM rust:1.95-bookworm AS chef
# Versions of Debian's packages come with the base image's tag.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends cmake libssl-dev libcurl4-openssl-dev pkg-config \
    && rm -rf /var/lib/apt/lists/*
RUN cargo install cargo-chef --version 0.1.78 --locked
WORKDIR /build

FROM chef AS planner
COPY . .
RUN cargo chef prepare --recipe-path recipe.json

FROM chef AS build
# The last stage has glibc and OpenSSL, but no zlib.
ENV LIBZ_SYS_STATIC=1
ENV BINARIES="--package gateway --package app-service --package analytics-consumer --package email-consumer --package audit-consumer"
COPY --from=planner /build/recipe.json recipe.json
# hadolint ignore=SC2086
RUN cargo chef cook --release --locked --recipe-path recipe.json $BINARIES
COPY . .
# What /buildinfo says.
ARG BUILD_REVISION=unknown
ENV BUILD_REVISION=$BUILD_REVISION
# hadolint ignore=SC2086
RUN cargo build --release --locked $BINARIES

FROM gcr.io/distroless/cc-debian12:nonroot
ARG BIN
ARG VERSION=0.1.0
ARG BUILD_REVISION=unknown
LABEL org.opencontainers.image.title="$BIN" \
      org.opencontainers.image.description="Plumbline: $BIN" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$BUILD_REVISION" \
      org.opencontainers.image.base.name="gcr.io/distroless/cc-debian12:nonroot"
COPY --from=build /build/target/release/$BIN /app
USER 65532:65532
ENTRYPOINT ["/app"]
CMD ["serve"]
