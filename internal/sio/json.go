package sio

import (
	"bytes"
	"encoding/json"
	"errors"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/z-open/socketauth/internal/engine"
)

const maxArguments = 4096 // how many values the array of one packet may have

var (
	errJSON        = errors.New("payload is not valid JSON")
	errNotArray    = errors.New("payload is not an array")
	errNotObject   = errors.New("payload is not an object")
	errDepth       = errors.New("payload is nested too deeply")
	errArguments   = errors.New("payload has too many arguments")
	errPlaceholder = errors.New("placeholder without its attachment")
)

// splitArray returns the values of a JSON array, unchanged.
func splitArray(data []byte, maxDepth int) ([]json.RawMessage, error) {
	if !engine.ValidJSON(data) {
		return nil, errJSON
	}
	if data = trimSpace(data); data[0] != '[' {
		return nil, errNotArray
	}
	return split(data, maxDepth)
}

// checkObject returns an error unless data is one JSON object.
func checkObject(data []byte, maxDepth int) error {
	if !engine.ValidJSON(data) {
		return errJSON
	}
	if data = trimSpace(data); data[0] != '{' {
		return errNotObject
	}
	_, err := split(data, maxDepth)
	return err
}

// split returns the elements of a valid array or object. It returns an error if they are too many
// or nested too deeply.
func split(data []byte, maxDepth int) ([]json.RawMessage, error) {
	var parts []json.RawMessage
	depth, start := 0, 1
	for i := 0; i < len(data); i++ {
		switch data[i] {
		case '"':
			i = engine.StringEnd(data, i) - 1
		case '[', '{':
			if depth++; depth > maxDepth {
				return nil, errDepth
			}
		case ']', '}':
			depth--
		}
		if depth > 1 || depth == 1 && data[i] != ',' {
			continue
		}
		part := trimSpace(data[start:i])
		if len(part) == 0 {
			break // an empty array
		}
		if len(parts) == maxArguments {
			return nil, errArguments
		}
		// Capped, so that an append to it cannot overwrite the next one.
		parts = append(parts, json.RawMessage(part[:len(part):len(part)]))
		start = i + 1
	}
	return parts, nil
}

// trimSpace removes JSON white space from both ends.
func trimSpace(data []byte) []byte { return bytes.Trim(data, " \t\r\n") }

// checkPlaceholders returns an error if a placeholder, at whatever depth, does not name one of n
// attachments. The value must be valid JSON and not deeper than MaxDepth.
func checkPlaceholders(value json.RawMessage, n int) error {
	s := placeholderScan{data: value, attachments: n}
	s.value()
	if s.bad {
		return errPlaceholder
	}
	return nil
}

// placeholderScan scans JSON that is known to be valid.
type placeholderScan struct {
	data        []byte
	pos         int
	attachments int
	bad         bool
}

// value skips one value and returns it.
func (s *placeholderScan) value() []byte {
	s.space()
	start := s.pos
	switch s.data[s.pos] {
	case '{':
		s.object()
	case '[':
		s.array()
	case '"':
		s.pos = engine.StringEnd(s.data, s.pos)
	default:
		for s.pos < len(s.data) && bytes.IndexByte([]byte(",]} \t\r\n"), s.data[s.pos]) < 0 {
			s.pos++
		}
	}
	return s.data[start:s.pos]
}

func (s *placeholderScan) array() {
	for s.pos++; s.more(']'); {
		s.value()
	}
}

func (s *placeholderScan) object() {
	var marked bool
	var num []byte
	for s.pos++; s.more('}'); {
		key := s.value()
		s.space()
		s.pos++ // the colon
		value := s.value()
		switch { // the last of equal keys counts, as in every JSON parser
		case engine.IsKey(key, "_placeholder"):
			marked = string(value) == "true"
		case engine.IsKey(key, "num"):
			num = value
		}
	}
	if marked {
		n, err := strconv.ParseUint(string(num), 10, 32)
		s.bad = s.bad || err != nil || n >= uint64(s.attachments)
	}
}

// more moves to the next element and returns true, or past the end and returns false.
func (s *placeholderScan) more(end byte) bool {
	s.space()
	if s.data[s.pos] == ',' {
		s.pos++
		return true
	}
	if s.data[s.pos] == end {
		s.pos++
		return false
	}
	return true
}

func (s *placeholderScan) space() {
	for s.pos < len(s.data) && bytes.IndexByte([]byte(" \t\r\n"), s.data[s.pos]) >= 0 {
		s.pos++
	}
}

// ASCII escapes all other characters in valid JSON, where they occur only in strings.
func ASCII(text []byte) []byte {
	if IsASCII(text) {
		return text
	}
	const hex = "0123456789abcdef"
	out := make([]byte, 0, 2*len(text))
	for _, r := range string(text) {
		if r < utf8.RuneSelf {
			out = append(out, byte(r))
			continue
		}
		first, second := utf16.EncodeRune(r)
		if second == utf8.RuneError {
			first, second = r, 0
		}
		for _, unit := range []rune{first, second} {
			if unit != 0 {
				out = append(out, '\\', 'u', hex[unit>>12&15], hex[unit>>8&15], hex[unit>>4&15], hex[unit&15])
			}
		}
	}
	return out
}

// IsASCII reports whether text is ASCII.
func IsASCII(text []byte) bool {
	for _, c := range text {
		if c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
