# golangci-lint, of one version for all Go modules; .golangci.yml beside this file says what it looks for.
golangci-lint = go run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
