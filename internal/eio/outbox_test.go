package eio

import (
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"
)

// heads returns the heads of packets, which the tests use to name them.
func heads(packets []Packet) string {
	var names []string
	for _, p := range packets {
		names = append(names, p.Head)
	}
	return strings.Join(names, " ")
}

func TestOutboxAccounts(t *testing.T) {
	// Guards the count of what waits, which includes what is being written until that is done.
	a, b := Packet{Head: "a"}, Packet{Head: "b"}
	var o outbox
	o.add([]Packet{a})
	first := o.take(false, false)
	o.add([]Packet{b})
	if heads(first.packets) != "a" || !o.writing || o.waiting != a.cost()+b.cost() {
		t.Errorf("while %q is written: %+v", heads(first.packets), o)
	}
	o.discard()
	if !o.empty() || o.waiting != a.cost() {
		t.Errorf("discarded: %+v", o)
	}
	o.add([]Packet{b, b})
	o.wrote()
	if o.writing || o.waiting != 2*b.cost() || o.inFlight != 0 {
		t.Errorf("written: %+v", o)
	}
}

func TestOutboxLastBatch(t *testing.T) {
	// Guards that with polling the end is a batch of its own, and with a websocket it is not.
	for _, polling := range []bool{false, true} {
		o := outbox{lastPacket: closePacket, pong: &Packet{Head: "pong"}}
		o.add([]Packet{{Head: "a"}})
		b := o.take(true, polling)
		if heads(b.packets) != "a pong" || b.last == polling || o.lastTaken != b.last {
			t.Errorf("polling %v: %q, last %v", polling, heads(b.packets), b.last)
		}
		o.stopWriting()
		if o.lastTaken || o.writing {
			t.Errorf("polling %v: not written, but %+v", polling, o)
		}
		if b := o.take(true, polling); len(b.packets) != 0 || !b.last || b.lastPacket.Head != closePacket.Head {
			t.Errorf("polling %v: the end is %+v", polling, b)
		}
	}
}

func TestOutboxDrained(t *testing.T) {
	// Guards that a goroutine that waits is woken once.
	o := outbox{drained: make(chan struct{})}
	drained := o.drained
	if !o.signalDrained() || o.signalDrained() {
		t.Error("signalled never, or twice")
	}
	select {
	case <-drained:
	default:
		t.Error("not signalled")
	}
}

func TestNoWebsocketLibrary(t *testing.T) {
	// Guards that no websocket library serves a client: the handshake and the frames are this
	// module's.
	var found []string
	for _, pkg := range []string{"eio", "eio3", "eio4", "engine", "sio"} {
		files, err := filepath.Glob("../" + pkg + "/*.go")
		if err != nil || len(files) == 0 {
			t.Fatal(pkg, files, err)
		}
		for _, name := range files {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
			if err != nil {
				t.Fatal(err)
			}
			for _, i := range f.Imports {
				if strings.Contains(i.Path.Value, "gorilla/websocket") {
					found = append(found, name)
				}
			}
		}
	}
	if len(found) > 0 {
		t.Errorf("gorilla/websocket is imported by %v", found)
	}
}
