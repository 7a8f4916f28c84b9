package eio4_test

import (
	"testing"

	"github.com/z-open/socketauth/internal/engine/enginetest"
)

var bench = enginetest.Bench{Version: enginetest.V4, Start: start}

func BenchmarkEcho(b *testing.B)         { bench.Echo(b) }
func BenchmarkEchoBurst(b *testing.B)    { bench.EchoBurst(b) }
func BenchmarkConnectClose(b *testing.B) { bench.ConnectClose(b) }
func BenchmarkIdle(b *testing.B)         { bench.Idle(b) }
