package engine

import (
	"bytes"
	"encoding/json"
	"errors"
)

// placeholderKey is the key of an object that stands for an attachment in the JSON of a packet.
const placeholderKey = "_placeholder"

// maxDepthBesideAttachments is how deeply a value may be nested that is sent with attachments.
// Clients search it for placeholders recursively: in Node 5,000 levels overflow the stack, which
// ends the connection.
const maxDepthBesideAttachments = 1000

var (
	errPlaceholder = errors.New(`an object with the key "_placeholder" cannot be sent with attachments: ` +
		"clients would take it for one")
	errDepth = errors.New("nested too deeply to be sent with attachments")
)

// checkBesideAttachments returns an error if compact, valid JSON that is sent with attachments
// would end the client's connection. Clients 1.x and old clients 2.x accept any value of the key
// that JavaScript takes for true.
func checkBesideAttachments(data []byte) error {
	depth := 0
	for i := 0; i < len(data); i++ {
		switch data[i] {
		case '[', '{':
			if depth++; depth > maxDepthBesideAttachments {
				return errDepth
			}
		case ']', '}':
			depth--
		case '"':
			start := i
			i = StringEnd(data, i)
			if i == len(data) || data[i] != ':' || !IsKey(data[start:i], placeholderKey) {
				i--
				continue
			}
			if rest := data[i+1:]; !bytes.HasPrefix(rest, []byte("false")) && !bytes.HasPrefix(rest, []byte("null")) {
				return errPlaceholder
			}
		}
	}
	return nil
}

// StringEnd returns the index after the JSON string that begins at i.
func StringEnd(data []byte, i int) int {
	for i++; data[i] != '"'; i++ {
		if data[i] == '\\' {
			i++
		}
	}
	return i + 1
}

// IsKey reports whether a quoted key, which may contain escapes, is name.
func IsKey(quoted []byte, name string) bool {
	if bytes.IndexByte(quoted, '\\') < 0 {
		return string(quoted[1:len(quoted)-1]) == name
	}
	var key string
	return json.Unmarshal(quoted, &key) == nil && key == name
}
