package config

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/joho/godotenv"
)

const dotenvName = ".env"

// readDotenv reads the file .env in dir. Without that file there are no settings. Nothing in it is expanded: a `$` stands for itself.
func readDotenv(dir string) (map[string]string, error) {
	content, err := os.ReadFile(filepath.Join(dir, dotenvName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%s: cannot be read: %w", dotenvName, err)
	}
	return parseDotenv(content)
}

func parseDotenv(content []byte) (map[string]string, error) {
	// godotenv expands variables. Replace `$` while it reads, by a character that no text file has.
	const dollar = "\x00"
	content = bytes.TrimPrefix(content, []byte("\ufeff"))
	if bytes.Contains(content, []byte(dollar)) {
		return nil, fmt.Errorf("%s: has a NUL character; allowed: text, in lines of NAME=value", dotenvName)
	}
	values, err := godotenv.UnmarshalBytes(bytes.ReplaceAll(content, []byte("$"), []byte(dollar)))
	if err != nil {
		// The parser's own error quotes the file, which may contain the secret.
		return nil, fmt.Errorf("%s: cannot be understood (not shown here, a secret may be in it); allowed: lines of NAME=value, with single quotes around a value of more than letters, digits and . _ / : @ -", dotenvName)
	}
	for name, value := range values {
		values[name] = strings.ReplaceAll(value, dollar, "$")
	}
	return values, nil
}
