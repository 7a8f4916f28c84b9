package engine

import (
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"
)

// maxPooled is the size of the largest buffer that is used again.
const maxPooled = 16 << 10

// encoders has encoders to be used again: *encoder.
var encoders sync.Pool

// encoder encodes values as encoding/json does without the escapes for HTML. What is frequent it
// encodes itself, in less time.
type encoder struct {
	text []byte        // what has been encoded
	json *json.Encoder // appends to text
}

func newEncoder() *encoder {
	e := new(encoder)
	e.json = json.NewEncoder(e)
	e.json.SetEscapeHTML(false)
	return e
}

// Write implements io.Writer.
func (e *encoder) Write(p []byte) (int, error) {
	e.text = append(e.text, p...)
	return len(p), nil
}

// value appends the JSON of v.
func (e *encoder) value(v any) error {
	switch v := v.(type) {
	case nil:
		e.text = append(e.text, "null"...)
		return nil
	case bool:
		e.text = strconv.AppendBool(e.text, v)
		return nil
	case int:
		e.text = strconv.AppendInt(e.text, int64(v), 10)
		return nil
	case int64:
		e.text = strconv.AppendInt(e.text, v, 10)
		return nil
	case float64:
		if abs := math.Abs(v); v == 0 || 1e-6 <= abs && abs < 1e21 { // others have an exponent, or are no numbers
			e.text = strconv.AppendFloat(e.text, v, 'f', -1, 64)
			return nil
		}
	case string:
		if e.plain(v) {
			return nil
		}
	case json.RawMessage:
		if e.compact(v) {
			return nil
		}
	}
	return e.other(v)
}

// other is value for values of any type.
func (e *encoder) other(v any) error {
	err := e.json.Encode(v)
	if err == nil {
		e.text = e.text[:len(e.text)-1] // Encode ends each value with a newline
	}
	return err
}

// plain appends the JSON of a string, unless that has escapes.
func (e *encoder) plain(text string) bool {
	if !isPlainText(text) {
		return false
	}
	e.text = append(append(append(e.text, '"'), text...), '"')
	return true
}

// isPlainText reports whether text is UTF-8 that encoding/json does not escape.
func isPlainText(text string) bool {
	ascii := true
	for i := range len(text) {
		c := text[i]
		if !isPlain[c] {
			return false
		}
		ascii = ascii && c < utf8.RuneSelf
	}
	return ascii || utf8.ValidString(text) && !strings.Contains(text, "\u2028") && !strings.Contains(text, "\u2029")
}

// compact appends JSON without white space, if it is valid.
func (e *encoder) compact(data []byte) bool {
	if !ValidJSON(data) {
		return false
	}
	for i := 0; i < len(data); {
		end := i + 1
		switch data[i] {
		case ' ', '\t', '\r', '\n':
			i++
			continue
		case '"':
			end = StringEnd(data, i)
		}
		e.text = append(e.text, data[i:end]...)
		i = end
	}
	return true
}
