package eio4_test

import (
	"testing"

	"github.com/z-open/socketauth/internal/eio4"
	"github.com/z-open/socketauth/internal/engine"
	"github.com/z-open/socketauth/internal/engine/enginetest"
)

// What the interface of engines promises, over every transport.
func TestConformance(t *testing.T) {
	enginetest.Run(t, enginetest.V4, func(o enginetest.Options) engine.Engine {
		return eio4.New(eio4.Options{
			PingInterval: o.PingInterval,
			PingTimeout:  o.PingTimeout,
			FlushTimeout: o.FlushTimeout,
			MaxPayload:   o.MaxPayload,
			MaxQueue:     o.MaxQueue,
			Describe:     o.Describe,
			Namespaces:   o.Namespaces,
		})
	})
}
