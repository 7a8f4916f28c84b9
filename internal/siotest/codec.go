package siotest

import (
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"

	"github.com/gorilla/websocket"
)

// Payload returns packets as the body of a POST has them, in the given version of Engine.IO.
func Payload(version string, packets ...string) string {
	if version == "4" {
		return strings.Join(packets, "\x1e")
	}
	var b strings.Builder
	for _, p := range packets {
		if data, binary := strings.CutPrefix(p, "b"); binary {
			p = "b4" + data
		}
		fmt.Fprintf(&b, "%d:%s", len(utf16.Encode([]rune(p))), p)
	}
	return b.String()
}

// SplitPayload returns the packets of a poll's answer. It is the inverse of Payload.
func SplitPayload(version, payload string) (packets []string, err error) {
	if version == "4" {
		return strings.Split(payload, "\x1e"), nil
	}
	for payload != "" {
		length, rest, _ := strings.Cut(payload, ":")
		n, err := strconv.Atoi(length)
		text := utf16.Encode([]rune(rest))
		if err != nil || n < 0 || n > len(text) {
			return packets, fmt.Errorf("siotest: malformed payload %.200q", payload)
		}
		p := string(utf16.Decode(text[:n]))
		if data, binary := strings.CutPrefix(p, "b4"); binary {
			p = "b" + data
		}
		packets = append(packets, p)
		payload = string(utf16.Decode(text[n:]))
	}
	return packets, nil
}

// WriteFrame writes a packet to a websocket.
func WriteFrame(ws *websocket.Conn, version, packet string) error {
	text, binary := strings.CutPrefix(packet, "b")
	if !binary {
		return ws.WriteMessage(websocket.TextMessage, []byte(packet))
	}
	data, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return fmt.Errorf("siotest: %.100q: %w", packet, err)
	}
	if version == "3" {
		data = append([]byte{4}, data...)
	}
	return ws.WriteMessage(websocket.BinaryMessage, data)
}

// ReadFrame reads the next packet from a websocket.
func ReadFrame(ws *websocket.Conn, version string) (packet string, err error) {
	kind, data, err := ws.ReadMessage()
	if err != nil {
		return "", err
	}
	if kind != websocket.BinaryMessage {
		return string(data), nil
	}
	if version == "3" && len(data) > 0 {
		data = data[1:] // the type of the packet
	}
	return "b" + base64.StdEncoding.EncodeToString(data), nil
}
