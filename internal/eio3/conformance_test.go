package eio3_test

import (
	"testing"

	"github.com/z-open/socketauth/internal/engine/enginetest"
)

// What the interface of engines promises, over every transport.
func TestConformance(t *testing.T) { enginetest.Run(t, enginetest.V3, start) }
