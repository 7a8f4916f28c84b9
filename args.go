package socketauth

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/z-open/socketauth/internal/engine"
)

// Args are what a client sent with an event, or replied with.
type Args struct{ args engine.Args }

// Len is how many there are.
func (a Args) Len() int { return len(a.args.Values) }

// Decode reads the arguments into dst, in order, as encoding/json does; a *[]byte takes a binary attachment. nil skips
// an argument, and those past dst are ignored. What does not fit, and an argument that is missing, is an error that
// wraps ErrBadArguments.
func (a Args) Decode(dst ...any) error {
	if len(dst) > len(a.args.Values) {
		return fmt.Errorf("%w: %d, where %d are needed", ErrBadArguments, len(a.args.Values), len(dst))
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
		if err := json.Unmarshal(a.args.Values[i], d); err != nil {
			return fmt.Errorf("%w: argument %d: %w", ErrBadArguments, i, err)
		}
	}
	return nil
}
