// Package server holds the description of the wire, for the front end to serve.
package server

import _ "embed"

// OpenAPI is the content of openapi.yaml.
//
//go:embed openapi.yaml
var OpenAPI []byte
