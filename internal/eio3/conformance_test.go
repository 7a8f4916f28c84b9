package eio3_test

import (
	"testing"

	"github.com/z-open/socketauth/internal/eio3"
	"github.com/z-open/socketauth/internal/engine"
	"github.com/z-open/socketauth/internal/engine/enginetest"
)

func start(o engine.Options) engine.Engine { return eio3.New(o) }

// Guards what package engine promises, over every transport.
func TestConformance(t *testing.T) { enginetest.Run(t, enginetest.V3, start) }

// Guards requests whose body never comes.
func TestSlowBodies(t *testing.T) {
	enginetest.SlowBodies(t, enginetest.V3, start)
}

// Guards requests that do not announce the length of their body.
func TestUnknownLengths(t *testing.T) { enginetest.UnknownLengths(t, enginetest.V3, start) }

// Guards the answers to websocket handshakes.
func TestHandshakes(t *testing.T) { enginetest.Handshakes(t, enginetest.V3, start) }

// Guards the memory of events that wait for an attachment.
func TestHalfEvents(t *testing.T) { enginetest.HalfEvents(t, enginetest.V3, start) }

// Guards against many concurrent upgrades of one session.
func TestUpgradesAtOnce(t *testing.T) { enginetest.UpgradesAtOnce(t, enginetest.V3, start) }

// FuzzClient sends arbitrary data to the engine, in every way that a client can.
func FuzzClient(f *testing.F) { enginetest.Fuzz(f, enginetest.V3, start) }

func TestSessionIDs(t *testing.T) { enginetest.SessionIDs(t, enginetest.V3, start) }
