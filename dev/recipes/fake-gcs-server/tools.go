//go:build tools

// Package fakegcsserver only names the program that the test bed builds, so that go.sum covers it.
package fakegcsserver

import _ "github.com/fsouza/fake-gcs-server"
