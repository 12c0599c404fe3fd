//go:build tools

// Package minio only names the program that the test bed builds, so that go.sum covers it.
package minio

import _ "github.com/minio/minio"
