//go:build tools

// Package s5cmd only names the program that the test bed builds, so that go.sum covers it.
package s5cmd

import _ "github.com/peak/s5cmd/v2"
