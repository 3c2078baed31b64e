# The driver of the Go SDK, with the SDK from a module proxy that has it as the public one would.
FROM golang:1.26-bookworm AS pack
ENV GOWORK=off
WORKDIR /src/conformance
COPY conformance/go.mod conformance/go.sum ./
COPY conformance/docker/modproxy docker/modproxy
COPY sdk-go ../sdk-go
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    go run ./docker/modproxy ../sdk-go /out

FROM golang:1.26-bookworm AS build
ENV CGO_ENABLED=0 GOWORK=off
WORKDIR /driver
COPY conformance/drivers/go .
COPY --from=pack /out /proxy
# The source tree of the SDK is not here: a driver that was built has taken it from the proxy.
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    export GOPROXY="file:///proxy,$(go env GOPROXY)" GONOSUMDB=github.com/lockserver \
 && go mod edit -dropreplace=github.com/lockserver/lockserver/sdk-go -droprequire=github.com/lockserver/lockserver/sdk-go \
 && go get github.com/lockserver/lockserver/sdk-go@latest \
 && go build -trimpath -ldflags '-s -w' -o /out/driver .

FROM gcr.io/distroless/static-debian12:nonroot AS go
COPY --from=build /out/driver /driver
ENTRYPOINT ["/driver"]
