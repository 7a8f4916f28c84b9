// Package sio implements what versions 4 and 5 of the Socket.IO protocol have in common, which is
// all except how a client joins a namespace.
//
// A Client (client.go) turns the messages of an Engine.IO session into connections to namespaces
// (conn.go). parser.go and json.go parse the messages, encode.go encodes them.
package sio

import (
	"bytes"
	"encoding/json"
	"errors"
	"strconv"

	"github.com/z-open/socketauth/internal/engine"
)

// The types of Socket.IO packets, as they are on the wire.
const (
	Connect     = '0'
	Disconnect  = '1'
	Event       = '2'
	Ack         = '3'
	Error       = '4'
	binaryEvent = '5'
	binaryAck   = '6'
)

// Root is the namespace of packets that name none.
const Root = "/"

var (
	errSocketType  = errors.New("unknown socket packet type")
	errCount       = errors.New("malformed count of attachments")
	errAttachments = errors.New("too many attachments")
	errAckID       = errors.New("malformed acknowledgement id")
	errPayload     = errors.New("payload missing or not allowed")
	errEventName   = errors.New("event name is reserved or neither string nor number")
)

// Packet is one Socket.IO packet of the client.
type Packet struct {
	Kind        byte // Event also for binaryEvent, Ack also for binaryAck
	Namespace   string
	HasID       bool
	ID          uint64
	Name        string            // Event
	Values      []json.RawMessage // Event and Ack
	Auth        json.RawMessage   // Connect; nil if there is none
	Attachments int               // how many attachments follow
	Buffers     [][]byte          // the attachments that have come
	Size        int               // of the text, in bytes
}

// Parse parses the text of a packet. What it allocates depends on the length of the text, never on
// numbers in it. eventName is as in engine.Options.
func Parse(text []byte, maxAttachments, maxDepth int, eventName func([]byte) string) (Packet, error) {
	p := Packet{Namespace: Root, Size: len(text)}
	if len(text) == 0 || text[0] < Connect || text[0] > binaryAck {
		return p, errSocketType
	}
	p.Kind, text = text[0], text[1:]

	if p.Kind == binaryEvent || p.Kind == binaryAck {
		digits := LeadingDigits(text)
		if digits == 0 || digits == len(text) || text[digits] != '-' {
			return p, errCount
		}
		n, err := strconv.ParseUint(string(text[:digits]), 10, 31)
		if err != nil || n > uint64(maxAttachments) {
			return p, errAttachments
		}
		p.Attachments, text = int(n), text[digits+1:]
		p.Kind -= binaryEvent - Event
	}

	if len(text) > 0 && text[0] == '/' {
		namespace, rest, _ := bytes.Cut(text, []byte{','})
		p.Namespace, text = string(namespace), rest
	}

	if digits := LeadingDigits(text); digits > 0 {
		id, err := strconv.ParseUint(string(text[:digits]), 10, 64)
		if err != nil {
			return p, errAckID
		}
		p.HasID, p.ID, text = true, id, text[digits:]
	}
	return p, p.parsePayload(text, maxDepth, eventName)
}

func (p *Packet) parsePayload(data []byte, maxDepth int, eventName func([]byte) string) error {
	if p.HasID != (p.Kind == Ack) && p.Kind != Event {
		return errAckID
	}
	switch p.Kind {
	case Connect:
		if len(data) == 0 {
			return nil
		}
		p.Auth = data
		return checkObject(data, maxDepth)
	case Event, Ack:
		return p.parseValues(data, maxDepth, eventName)
	case Disconnect:
		if len(data) > 0 {
			return errPayload
		}
		return nil
	default:
		return errSocketType // clients never send CONNECT_ERROR
	}
}

func (p *Packet) parseValues(data []byte, maxDepth int, eventName func([]byte) string) error {
	if len(data) == 0 {
		return errPayload
	}
	values, err := splitArray(data, maxDepth)
	if err != nil {
		return err
	}
	if p.Attachments > 0 {
		for _, v := range values {
			if err := checkPlaceholders(v, p.Attachments); err != nil {
				return err
			}
		}
	}
	if p.Kind == Event {
		if len(values) == 0 {
			return errPayload
		}
		if p.Name, err = nameIn(values[0], eventName); err != nil {
			return err
		}
		values = values[1:]
	}
	p.Values = values
	return nil
}

// Args returns the arguments of an event or a reply, with its attachments.
func (p *Packet) Args() engine.Args {
	size := p.Size
	for _, b := range p.Buffers {
		size += len(b)
	}
	return engine.Args{Values: p.Values, Attachments: p.Buffers, Size: size}
}

// LeadingDigits returns how many digits text begins with.
func LeadingDigits(text []byte) int {
	n := 0
	for n < len(text) && '0' <= text[n] && text[n] <= '9' {
		n++
	}
	return n
}

// nameIn returns the name of an event from its first value: a string, or a number unchanged.
func nameIn(value json.RawMessage, eventName func([]byte) string) (string, error) {
	switch c := value[0]; {
	case c == '-' || '0' <= c && c <= '9':
		return string(value), nil
	case c != '"':
		return "", errEventName
	}
	var name string
	if bytes.IndexByte(value, '\\') < 0 {
		name = eventName(value[1 : len(value)-1])
	} else {
		var unescaped string // not name, which then would always be on the heap
		if err := json.Unmarshal(value, &unescaped); err != nil {
			return "", errEventName
		}
		name = unescaped
	}
	switch name {
	case "connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener":
		return "", errEventName
	}
	return name, nil
}
