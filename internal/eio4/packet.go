package eio4

import (
	"bytes"
	"encoding/base64"
	"iter"
	"strconv"

	"github.com/z-open/socketauth/internal/eio"
	"github.com/z-open/socketauth/internal/engine"
)

const (
	separator  = '\x1e' // between the packets of a payload
	base64Head = "b"    // begins a binary message in text
)

// openPacket returns the server's part of the handshake. upgrades is the content of a JSON array.
func openPacket(sid string, o *engine.Options, upgrades string) eio.Packet {
	b := make([]byte, 0, 160)
	b = append(append(append(b, eio.Open), `{"sid":"`...), sid...)
	b = append(append(append(b, `","upgrades":[`...), upgrades...), `],"pingInterval":`...)
	b = append(strconv.AppendInt(b, o.PingInterval.Milliseconds(), 10), `,"pingTimeout":`...)
	b = append(strconv.AppendInt(b, o.PingTimeout.Milliseconds(), 10), `,"maxPayload":`...)
	b = append(strconv.AppendInt(b, int64(o.FirstPayload), 10), '}')
	return eio.Packet{Head: string(b)}
}

// AppendPayload implements eio.Protocol. It always encodes binary data as text, since this version
// has no other form.
func (protocol) AppendPayload(dst []byte, packets []eio.Packet, _ bool) (payload []byte, contentType string) {
	for i, p := range packets {
		if i > 0 {
			dst = append(dst, separator)
		}
		if p.Binary {
			dst = append(dst, base64Head...)
			dst = base64.StdEncoding.AppendEncode(dst, p.Data)
			continue
		}
		dst = append(append(dst, p.Head...), p.Data...)
	}
	return dst, eio.ContentText
}

// Frame implements eio.Protocol. Packets go into frames unchanged.
func (protocol) Frame(p eio.Packet, _ bool) eio.Packet { return p }

// parseFrame parses the packet in a websocket message.
func parseFrame(data []byte, binary bool) (eio.Incoming, error) {
	if binary {
		return eio.Incoming{Kind: eio.Message, Data: data, Binary: true}, nil
	}
	return eio.ParseText(data, base64Head)
}

// Packets implements eio.Link.
func (link) Packets(body []byte, _ string) iter.Seq2[eio.Incoming, error] {
	return func(yield func(eio.Incoming, error) bool) {
		for text := range bytes.SplitSeq(body, []byte{separator}) {
			if p, err := eio.ParseText(text, base64Head); !yield(p, err) || err != nil {
				return
			}
		}
	}
}
