package eio4

import (
	"bytes"
	"encoding/json"
	"errors"
	"strconv"

	"github.com/z-open/socketauth/internal/engine"
)

// The types of Socket.IO packets, as they stand on the wire.
const (
	sioConnect      = '0'
	sioDisconnect   = '1'
	sioEvent        = '2'
	sioAck          = '3'
	sioConnectError = '4'
	sioBinaryEvent  = '5'
	sioBinaryAck    = '6'
)

const rootNamespace = "/"

var (
	errSocketType  = errors.New("unknown socket packet type")
	errCount       = errors.New("malformed count of attachments")
	errAttachments = errors.New("too many attachments")
	errAckID       = errors.New("malformed acknowledgement id")
	errPayload     = errors.New("payload missing or out of place")
	errEventName   = errors.New("event name is reserved or neither string nor number")
)

// socketPacket is one Socket.IO packet of the client.
type socketPacket struct {
	kind        byte // sioBinaryEvent counts as sioEvent, sioBinaryAck as sioAck
	namespace   string
	hasID       bool
	id          uint64
	name        string            // sioEvent
	values      []json.RawMessage // sioEvent and sioAck
	auth        json.RawMessage   // sioConnect, nil where there is none
	attachments int               // how many binary messages follow
	buffers     [][]byte          // those that came
	size        int               // bytes of the text
}

// parseSocketPacket reads the text of a packet. It allocates by what is there, never by what the text claims.
func parseSocketPacket(text []byte, maxAttachments int) (socketPacket, error) {
	p := socketPacket{namespace: rootNamespace, size: len(text)}
	if len(text) == 0 || text[0] < sioConnect || text[0] > sioBinaryAck {
		return p, errSocketType
	}
	p.kind, text = text[0], text[1:]

	if p.kind == sioBinaryEvent || p.kind == sioBinaryAck {
		digits := leadingDigits(text)
		if digits == 0 || digits == len(text) || text[digits] != '-' {
			return p, errCount
		}
		n, err := strconv.ParseUint(string(text[:digits]), 10, 31)
		if err != nil || n > uint64(maxAttachments) {
			return p, errAttachments
		}
		p.attachments, text = int(n), text[digits+1:]
		p.kind -= sioBinaryEvent - sioEvent
	}

	if len(text) > 0 && text[0] == '/' {
		namespace, rest, _ := bytes.Cut(text, []byte{','})
		p.namespace, text = string(namespace), rest
	}

	if digits := leadingDigits(text); digits > 0 {
		id, err := strconv.ParseUint(string(text[:digits]), 10, 64)
		if err != nil {
			return p, errAckID
		}
		p.hasID, p.id, text = true, id, text[digits:]
	}
	return p, p.parsePayload(text)
}

func (p *socketPacket) parsePayload(data []byte) error {
	if p.hasID != (p.kind == sioAck) && p.kind != sioEvent {
		return errAckID
	}
	switch p.kind {
	case sioConnect:
		if len(data) == 0 {
			return nil
		}
		p.auth = data
		return checkObject(data)
	case sioEvent, sioAck:
		return p.parseValues(data)
	case sioDisconnect:
		if len(data) > 0 {
			return errPayload
		}
		return nil
	default:
		return errSocketType // a client never sends CONNECT_ERROR
	}
}

func (p *socketPacket) parseValues(data []byte) error {
	if len(data) == 0 {
		return errPayload
	}
	values, err := splitArray(data)
	if err != nil {
		return err
	}
	if p.attachments > 0 {
		for _, v := range values {
			if err := checkPlaceholders(v, p.attachments); err != nil {
				return err
			}
		}
	}
	if p.kind == sioEvent {
		if len(values) == 0 {
			return errPayload
		}
		if p.name, err = eventName(values[0]); err != nil {
			return err
		}
		values = values[1:]
	}
	p.values = values
	return nil
}

// args are the arguments of an event or a reply, with the attachments that came.
func (p *socketPacket) args() engine.Args {
	size := p.size
	for _, b := range p.buffers {
		size += len(b)
	}
	return engine.Args{Values: p.values, Attachments: p.buffers, Size: size}
}

func leadingDigits(text []byte) int {
	n := 0
	for n < len(text) && '0' <= text[n] && text[n] <= '9' {
		n++
	}
	return n
}

// eventName is the name in the first value of an event: a string, or a number as it stands.
func eventName(value json.RawMessage) (string, error) {
	switch c := value[0]; {
	case c == '-' || '0' <= c && c <= '9':
		return string(value), nil
	case c != '"':
		return "", errEventName
	}
	var name string
	if bytes.IndexByte(value, '\\') < 0 {
		name = string(value[1 : len(value)-1])
	} else if err := json.Unmarshal(value, &name); err != nil {
		return "", errEventName
	}
	switch name {
	case "connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener":
		return "", errEventName
	}
	return name, nil
}

// encodeMessage makes the packets of an event (sioEvent) or a reply (sioAck): the text, then its attachments.
func encodeMessage(kind byte, namespace string, hasID bool, id uint64, m *engine.Message) []packet {
	if kind == sioEvent && namespace == rootNamespace && !hasID && len(m.Attachments) == 0 {
		return []packet{{head: "42", data: m.Text}} // the usual case, without a new string
	}
	head := []byte{typeMessage, kind}
	if n := len(m.Attachments); n > 0 {
		head[1] += sioBinaryEvent - sioEvent
		head = append(strconv.AppendInt(head, int64(n), 10), '-')
	}
	head = appendNamespace(head, namespace)
	if hasID {
		head = strconv.AppendUint(head, id, 10)
	}
	packets := make([]packet, 0, 1+len(m.Attachments))
	packets = append(packets, packet{head: string(head), data: m.Text})
	for _, data := range m.Attachments {
		packets = append(packets, packet{data: data, binary: true})
	}
	return packets
}

// encodeControl makes a packet that is neither event nor reply.
func encodeControl(kind byte, namespace string, payload []byte) packet {
	return packet{head: string(appendNamespace([]byte{typeMessage, kind}, namespace)), data: payload}
}

func appendNamespace(head []byte, namespace string) []byte {
	if namespace == rootNamespace {
		return head
	}
	return append(append(head, namespace...), ',')
}
