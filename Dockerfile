# One static program in an empty image: no shell, no libraries, nobody's user; its root may be read-only.
#
#   docker build --build-arg COMMIT="$(git rev-parse HEAD)" \
#     --build-arg SOURCE_DATE_EPOCH="$(git log -1 --format=%ct)" --tag greenlane .
#
# The same commit gives the same program. glibc's own resolver is linked in: names are looked up in /etc/hosts and by DNS.

FROM rust:1.95-bookworm AS build
# The list of what the program is made of, as CycloneDX: a layer of its own, for it seldom changes.
RUN cargo install cargo-cyclonedx --locked --version 0.5.9
WORKDIR /build
COPY . .
ARG COMMIT=""
ARG SOURCE_DATE_EPOCH=""
ENV GREENLANE_COMMIT=$COMMIT SOURCE_DATE_EPOCH=$SOURCE_DATE_EPOCH \
    CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS="-C target-feature=+crt-static --remap-path-prefix=/build=."
RUN test -n "$SOURCE_DATE_EPOCH" || unset SOURCE_DATE_EPOCH; \
    cargo build --locked --release --bin greenlane --target x86_64-unknown-linux-gnu \
    && cargo cyclonedx --format json --spec-version 1.5 --describe binaries --target x86_64-unknown-linux-gnu \
    && mkdir -p /image/usr/local/bin /image/usr/share/greenlane /image/etc/ssl/certs /image/var/lib/greenlane /image/tmp \
    && cp target/x86_64-unknown-linux-gnu/release/greenlane /image/usr/local/bin/ \
    && cp ./*.cdx.json LICENSE /image/usr/share/greenlane/ \
    && cp /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/ \
    && chmod 1777 /image/tmp && chown 65532:65532 /image/var/lib/greenlane

FROM scratch
COPY --from=build /image /
ENV PATH=/usr/local/bin
USER 65532:65532
# greenlane.toml is looked for here, and ./greenlane-data is made here.
WORKDIR /var/lib/greenlane
EXPOSE 50051 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s CMD ["greenlane", "healthcheck", "--ready"]
ENTRYPOINT ["greenlane"]
CMD ["serve"]
