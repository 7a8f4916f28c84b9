package sio

import (
	"strconv"

	"github.com/z-open/socketauth/internal/eio"
	"github.com/z-open/socketauth/internal/engine"
)

// encodeEvent returns the packets of an event that many clients are sent. In the root namespace
// they are encoded once for all.
func encodeEvent(namespace string, m *engine.Message) []eio.Packet {
	if namespace != Root {
		return encodeMessage(Event, namespace, false, 0, m)
	}
	return m.Encoded(encodeRootEvent).([]eio.Packet)
}

func encodeRootEvent(m *engine.Message) any {
	packets := encodeMessage(Event, Root, false, 0, m)
	packets[0] = packets[0].Shared()
	return packets
}

// encodeMessage returns the packets of an event or a reply: the text, then its attachments.
func encodeMessage(kind byte, namespace string, hasID bool, id uint64, m *engine.Message) []eio.Packet {
	return appendMessage(make([]eio.Packet, 0, 1+len(m.Attachments)), kind, namespace, hasID, id, m)
}

// appendMessage is encodeMessage for a slice that has room for packets.
func appendMessage(packets []eio.Packet, kind byte, namespace string, hasID bool, id uint64, m *engine.Message) []eio.Packet {
	head := messageHead(kind, namespace, hasID, id, len(m.Attachments))
	packets = append(packets, eio.Packet{Head: head, Data: m.Text, JSON: true})
	for _, data := range m.Attachments {
		packets = append(packets, eio.NewMessage(data, true))
	}
	return packets
}

// encodeControl returns a packet that is neither event nor reply.
func encodeControl(kind byte, namespace string, payload []byte) eio.Packet {
	return eio.Packet{Head: string(appendNamespace([]byte{eio.Message, kind}, namespace)), Data: payload}
}

// messageHead returns what precedes the payload of an event or a reply.
func messageHead(kind byte, namespace string, hasID bool, id uint64, attachments int) string {
	if kind == Event && namespace == Root && !hasID && attachments == 0 {
		return "42" // the usual case, without an allocation
	}
	var short [32]byte // of most namespaces and all ids
	head := append(short[:0], eio.Message, kind)
	if attachments > 0 {
		head[1] += binaryEvent - Event
		head = append(strconv.AppendInt(head, int64(attachments), 10), '-')
	}
	head = appendNamespace(head, namespace)
	if hasID {
		head = strconv.AppendUint(head, id, 10)
	}
	return string(head)
}

func appendNamespace(head []byte, namespace string) []byte {
	if namespace == Root {
		return head
	}
	return append(append(head, namespace...), ',')
}
