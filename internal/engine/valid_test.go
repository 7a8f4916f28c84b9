package engine

import (
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"
)

// validSeeds have every kind of value and of fault.
var validSeeds = []string{
	``, ` `, `null`, `true`, `false`, `nul`, `nulll`, `tru`, `True`, `"x"`, `"`, `"x`, `"\`, `"\"`, `"\u12"`, `"\u12aF"`, `"\u12aG"`,
	`"\x"`, `"\b\f\n\r\t\/\\\""`, "\"\x1f\"", "\"\x7f\xff\"", "\"\n\"", `0`, `-0`, `-`, `01`, `-01`, `1.`, `1.5`, `.5`, `1e`, `1e+`, `1E-7`, `1e5.5`, `+1`,
	`1 2`, `{}`, `[]`, `{]`, `[}`, `{ }`, `[ ]`, `[1,]`, `[,1]`, `[1 2]`, `[1,2]`, `{"a"}`, `{"a":}`, `{"a":1}`, `{"a":1,}`, `{,}`, `{1:2}`, `{"a":1 "b":2}`,
	`{"a":[{"b":null},[],{}],"c":"d"}`, `[[[[1]]]]`, `[[[[1]]]`, `[[1]]]`, " \t\r\n{\"a\" : [ 1 , 2 ] } \n", "\v1", "\ufeff1", `["a","b",{"token":"x.y.z","confirm":true}]`,
	`"abcdefghijklmnop\\qrs"`, `"abcdefghijklmnop\nqrstuvwxyz€öäü€€€€"`, "\"abcdefgh\x1fijklmnop\"", `"abcdefg`, `"abcdefgh`, `"abcdefghi`,
	`:`, `,`, `]`, `}`, `{"a"::1}`, `{"a":1:2}`, `["a":1]`, `{[]:1}`, `{"a":{"b":{"c":{}}}}`,
}

// checkValid compares ValidJSON with json.Valid.
func checkValid(t *testing.T, data []byte) {
	t.Helper()
	if got, want := ValidJSON(data), json.Valid(data); got != want {
		t.Errorf("ValidJSON(%q) = %v, json.Valid returns %v", data, got, want)
	}
}

// TestValidJSON checks that ValidJSON agrees with json.Valid, also on texts with one or two wrong
// bytes and at the limit of nesting.
func TestValidJSON(t *testing.T) {
	const bytes = "{}[]:,\"\\ \n0159-+.eEtrufalsnxb\x00\x1f\x7f\x80\xff"
	random := rand.New(rand.NewPCG(1, 2))
	for _, seed := range validSeeds {
		checkValid(t, []byte(seed))
		for range 2000 {
			data := []byte(seed)
			for range 1 + random.IntN(2) {
				at, c := random.IntN(len(data)+1), bytes[random.IntN(len(bytes))]
				switch {
				case at == len(data) || random.IntN(3) == 0: // insert
					data = append(data[:at:at], append([]byte{c}, data[at:]...)...)
				case random.IntN(2) == 0: // delete
					data = append(data[:at:at], data[at+1:]...)
				default:
					data[at] = c
				}
			}
			checkValid(t, data)
		}
	}
	for _, depth := range []int{9999, 10000, 10001, 20000} {
		checkValid(t, []byte(strings.Repeat("[", depth)+strings.Repeat("]", depth)))
		checkValid(t, []byte(strings.Repeat(`{"a":`, depth)+"1"+strings.Repeat("}", depth)))
	}
}

func FuzzValidJSON(f *testing.F) {
	for _, seed := range validSeeds {
		f.Add([]byte(seed))
	}
	f.Fuzz(checkValid)
}

func BenchmarkValidJSON(b *testing.B) {
	data := []byte(`{"sub":"user-12345","role":"admin","sid":"AAAAAAAAAAAAAAAAAAAAAA","jti":"AAAAAAAAAAAAAAAAAAAAAA","iat":1794700000.123456,"exp":1794700900.123456,"auth_time":1794700000.123456,"gen":12,"dur":900,"token_use":"session"}`)
	for _, c := range []struct {
		name  string
		valid func([]byte) bool
	}{{"own", ValidJSON}, {"json", json.Valid}} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				c.valid(data)
			}
		})
	}
}
