package engine

import (
	"bytes"
	"encoding/json"
	"math"
	"strings"
	"testing"
	"unicode/utf8"
)

// encodedByJSON returns what encoding/json makes of values without the escapes for HTML, as text
// that a client reads.
func encodedByJSON(values ...any) (string, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(values)
	return strings.ToValidUTF8(strings.TrimSuffix(b.String(), "\n"), "\ufffd"), err
}

// FuzzEncode checks that values are encoded as encoding/json does without the escapes for HTML, and
// that it accepts the same ones.
func FuzzEncode(f *testing.F) {
	for _, seed := range []string{
		"", "echo", "a\"b", `a\b`, "a\nb", "\x00", "\x1f", "\x7f", " ~", "<&>", "é", "\u2028", "x\u2029", "\xff", "é\xff", "a.b-c_d",
		`{"a" : [1 , " \" \\", null ] }`, " 1\r\n", `{"a":"<\u2028"}`, `"a`, "[1,]", "\"\xe2\x80\"", `1.50e+7`,
	} {
		f.Add(seed, seed, int64(len(seed)), uint64(len(seed)))
	}
	for _, v := range []float64{0, math.Copysign(0, -1), 1e-6, 9.99e-7, 1e21, 999999999999999900000, -1e-7, math.MaxFloat64, math.Inf(1), math.NaN(), 0.1, -2.5} {
		f.Add("x", "null", int64(math.MinInt64), math.Float64bits(v))
	}
	f.Fuzz(func(t *testing.T, name, value string, integer int64, bits uint64) {
		number, raw := math.Float64frombits(bits), json.RawMessage(value)
		for _, values := range [][]any{
			{value, 1.5, value},
			{integer, int(integer), integer%2 == 0, nil, uint8(integer), float32(number / 2), map[string]any{value: integer}, value},
			{number},
			{raw, value},
			{[]any{raw, number}, &raw},
			{json.Number(value), json.RawMessage(nil)},
		} {
			want, wantErr := encodedByJSON(append([]any{name}, values...)...)
			m, err := NewMessage(name, values...)
			switch {
			case (err == nil) != (wantErr == nil):
				t.Errorf("%q: error %v and not %v", values, err, wantErr)
			case err == nil && (string(m.Text) != want || !utf8.Valid(m.Text)):
				t.Errorf("%q is encoded as %q and not %q", values, m.Text, want)
			}
			want, wantErr = encodedByJSON(values...)
			if m, err := NewReply(values...); (err == nil) != (wantErr == nil) || err == nil && string(m.Text) != want {
				t.Errorf("a reply of %q is encoded as %v, %v and not %q, %v", values, m, err, want, wantErr)
			}
		}
	})
}
