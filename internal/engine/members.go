package engine

import (
	"bytes"
	"encoding/json"
	"unicode/utf8"
)

// Members calls f for each member of a valid JSON object, in order: with the name, the name as it
// is quoted in the object, and the value. If a name occurs twice, f is called twice. It stops at
// the first error of f and returns it.
func Members(object []byte, f func(name, quoted, value []byte) error) error {
	for i := skipSpace(object, 0) + 1; ; {
		if i = skipSpace(object, i); object[i] == ',' {
			i = skipSpace(object, i+1)
		}
		if object[i] == '}' {
			return nil
		}
		end := StringEnd(object, i)
		quoted := object[i:end]
		i = skipSpace(object, skipSpace(object, end)+1) // past the colon
		end = valueEnd(object, i)
		value := bytes.TrimRight(object[i:end], " \t\r\n")
		if err := f(unquoteName(quoted), quoted, value); err != nil {
			return err
		}
		i = end
	}
}

// valueEnd returns where the value ends that starts at i: the index of the comma or of the closing
// brace after it.
func valueEnd(data []byte, i int) int {
	for depth := 0; ; i++ {
		switch data[i] {
		case '"':
			i = StringEnd(data, i) - 1
		case '[', '{':
			depth++
		case ']', '}':
			if depth == 0 {
				return i
			}
			depth--
		case ',':
			if depth == 0 {
				return i
			}
		}
	}
}

// unquoteName returns the text of a valid JSON string. Bytes that are not UTF-8 are replaced only
// if there are escapes: no name that anyone looks for has either.
func unquoteName(quoted []byte) []byte {
	if bytes.IndexByte(quoted, '\\') < 0 {
		return quoted[1 : len(quoted)-1]
	}
	s, _ := Unquote(quoted)
	return []byte(s)
}

// Unquote returns the text of a valid JSON string. ok is false if value is no string.
func Unquote(value []byte) (s string, ok bool) {
	if len(value) == 0 || value[0] != '"' {
		return "", false
	}
	if bytes.IndexByte(value, '\\') < 0 && utf8.Valid(value) {
		return string(value[1 : len(value)-1]), true
	}
	return unescape(bytes.Clone(value)) // a clone, so that value need not be on the heap
}

// unescape is Unquote for strings with escapes or bytes that are not UTF-8.
func unescape(value []byte) (s string, ok bool) {
	err := json.Unmarshal(value, &s)
	return s, err == nil
}
