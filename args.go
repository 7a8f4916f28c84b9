package socketauth

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"unicode/utf8"

	"github.com/z-open/socketauth/internal/engine"
)

// Args are the arguments that a client sent with an event or in an acknowledgement.
type Args struct {
	args  engine.Args
	event string
}

// Event returns the name of the event that the arguments came with, and "" for those of an
// acknowledgement.
func (a Args) Event() string { return a.event }

// Len returns the number of arguments.
func (a Args) Len() int { return len(a.args.Values) }

// Decode stores the arguments, in order, in the values that dst points to, as json.Unmarshal does.
// A *[]byte receives a binary attachment. If an element of dst is nil, its argument is skipped;
// arguments beyond those of dst are ignored. The error wraps ErrBadArguments if there are fewer
// arguments than elements of dst, or if an argument cannot be stored.
func (a Args) Decode(dst ...any) error {
	if len(dst) > len(a.args.Values) {
		return fmt.Errorf("%w: got %d, need %d", ErrBadArguments, len(a.args.Values), len(dst))
	}
	for i, d := range dst {
		if d == nil {
			continue
		}
		if b, ok := d.(*[]byte); ok {
			if data, ok := a.args.Attachment(i); ok {
				*b = slices.Clone(data)
				continue
			}
		}
		if s, ok := d.(*string); ok && s != nil && isPlainString(a.args.Values[i]) { // as json.Unmarshal, faster
			*s = string(a.args.Values[i][1 : len(a.args.Values[i])-1])
			continue
		}
		if err := json.Unmarshal(a.args.Values[i], d); err != nil {
			return fmt.Errorf("%w: argument %d: %w", ErrBadArguments, i, short(err))
		}
	}
	return nil
}

// isPlainString reports whether a JSON value is a string that stands for the characters between its
// quotes.
func isPlainString(value []byte) bool {
	return value[0] == '"' && bytes.IndexByte(value, '\\') < 0 && utf8.Valid(value)
}
