package sio

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestSplitArray(t *testing.T) {
	// Guards what is a value, and the limits of depth and number.
	deep := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	many := func(n int) string { return "[" + strings.TrimSuffix(strings.Repeat("0,", n), ",") + "]" }
	tests := []struct {
		name, in string
		want     []string
		err      error
	}{
		{"empty", `[]`, nil, nil},
		{"blank", " [ ] \n", nil, nil},
		{"one", `["a"]`, []string{`"a"`}, nil},
		{"spaced", "[ 1 ,\t\"b\" , null ]", []string{`1`, `"b"`, `null`}, nil},
		{"nested", `[{"a":[1,2],"b":"],["},[[3]],4]`, []string{`{"a":[1,2],"b":"],["}`, `[[3]]`, `4`}, nil},
		{"escapes", `["\"],[\\",1]`, []string{`"\"],[\\"`, `1`}, nil},
		{"lone surrogate", `["\ud800"]`, []string{`"\ud800"`}, nil},
		{"object", `{"a":1}`, nil, errNotArray},
		{"string", `"[1]"`, nil, errNotArray},
		{"nothing", ``, nil, errJSON},
		{"open", `[1`, nil, errJSON},
		{"two", `[1][2]`, nil, errJSON},
		{"deepest", deep(maxDepth), []string{deep(maxDepth - 1)}, nil},
		{"too deep", deep(maxDepth + 1), nil, errDepth},
		{"400,000 levels", strings.Repeat("[", 400_000), nil, errJSON},
		{"most", many(maxArguments), slices.Repeat([]string{"0"}, maxArguments), nil},
		{"too many", many(maxArguments + 1), nil, errArguments},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := splitArray([]byte(tt.in), maxDepth)
			if !errors.Is(err, tt.err) {
				t.Fatalf("error %v, want %v", err, tt.err)
			}
			if !slices.EqualFunc(got, tt.want, func(a json.RawMessage, b string) bool { return string(a) == b }) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestSplitArrayAppend(t *testing.T) {
	// Guards that an append to one argument does not overwrite the next.
	values, err := splitArray([]byte(`[1,2]`), maxDepth)
	if err != nil {
		t.Fatal(err)
	}
	_ = append(values[0], "xx"...)
	if string(values[1]) != "2" {
		t.Errorf("second value is now %q", values[1])
	}
}

func TestCheckPlaceholders(t *testing.T) {
	// Guards that a placeholder names an attachment, wherever it is.
	const n = 2
	good := []string{
		`null`, `1`, `"_placeholder"`, `[]`, `{}`, `[ ]`, `{ }`,
		`{"_placeholder":true,"num":0}`,
		`{ "num" : 1 , "_placeholder" : true }`,
		`[{"a":[{"_placeholder":true,"num":1}]},{"_placeholder":true,"num":1}]`,
		`{"_placeholder":false,"num":7}`,
		`{"_placeholder":1,"num":7}`,
		`{"_placeholder":"true","num":7}`,
		`{"num":7}`,
		`{"_placeholder":true,"num":9,"num":1}`,
		`{"_placeholder":true,"_placeholder":null,"num":9}`,
		`{"a":"{\"_placeholder\":true,\"num\":9}"}`,
	}
	bad := []string{
		`{"_placeholder":true}`,
		`{"_placeholder":true,"num":2}`,
		`{"_placeholder":true,"num":-1}`,
		`{"_placeholder":true,"num":"0"}`,
		`{"_placeholder":true,"num":null}`,
		`{"_placeholder":true,"num":0.5}`,
		`{"_placeholder":true,"num":1e0}`,
		`{"_placeholder":true,"num":[0]}`,
		`{"_placeholder":true,"num":99999999999999999999}`,
		`{"_placeholder":true,"num":0,"num":9}`,
		`{"\u005fplaceholder":true,"num":9}`,
		`{"_placeholder":true,"n\u0075m":9,"num2":0}`,
		`[[[{"a":{"b":{"_placeholder":true,"num":2}}}]]]`,
		`{"_placeholder":true,"num":0,"x":{"_placeholder":true,"num":2}}`,
	}
	for _, in := range good {
		if err := checkPlaceholders(json.RawMessage(in), n); err != nil {
			t.Errorf("%s: %v", in, err)
		}
	}
	for _, in := range bad {
		if checkPlaceholders(json.RawMessage(in), n) == nil {
			t.Errorf("%s passed", in)
		}
	}
}

// FuzzSplitArray compares splitArray with encoding/json.
func FuzzSplitArray(f *testing.F) {
	for _, seed := range []string{`[]`, `[1,"a,]",{"b":[2]}]`, " [ null\t] ", `["\\\"",[[]]]`, `[1,]`, `{}`, `[{"a":"\u2028"}]`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := splitArray(data, maxDepth)
		if errors.Is(err, errDepth) || errors.Is(err, errArguments) {
			return
		}
		var want []json.RawMessage
		wantErr := json.Unmarshal(data, &want)
		if (err == nil) != (wantErr == nil && want != nil) {
			t.Fatalf("%q: %v, encoding/json says %v", data, err, wantErr)
		}
		if err == nil && !slices.EqualFunc(got, want, func(a, b json.RawMessage) bool { return string(a) == string(b) }) {
			t.Fatalf("%q: %q, encoding/json says %q", data, got, want)
		}
	})
}

// FuzzCheckPlaceholders compares checkPlaceholders with a check of decoded values.
func FuzzCheckPlaceholders(f *testing.F) {
	for _, seed := range []string{`{"_placeholder":true,"num":0}`, `[{"a":{"_placeholder":true,"num":3}}]`, `{"\u005fplaceholder":true}`, `[1,{"num":2,"_placeholder":true}]`} {
		f.Add(seed, 2)
	}
	f.Fuzz(func(t *testing.T, in string, n int) {
		values, err := splitArray([]byte("["+in+"]"), maxDepth)
		if err != nil || n < 0 {
			return
		}
		for _, v := range values {
			var decoded any
			d := json.NewDecoder(strings.NewReader(string(v)))
			d.UseNumber()
			if err := d.Decode(&decoded); err != nil {
				t.Fatal(err)
			}
			if got, want := checkPlaceholders(v, n) == nil, placeholdersHold(decoded, n); got != want {
				t.Fatalf("%s with %d: %v, want %v", v, n, got, want)
			}
		}
	})
}

// placeholdersHold is checkPlaceholders on decoded JSON.
func placeholdersHold(v any, n int) bool {
	switch v := v.(type) {
	case []any:
		return !slices.ContainsFunc(v, func(e any) bool { return !placeholdersHold(e, n) })
	case map[string]any:
		for _, e := range v {
			if !placeholdersHold(e, n) {
				return false
			}
		}
		if v["_placeholder"] == true {
			num, ok := v["num"].(json.Number)
			return ok && slices.ContainsFunc(indexes(n), func(s string) bool { return s == num.String() })
		}
	}
	return true
}

func indexes(n int) []string {
	var all []string
	for i := range min(n, 1000) {
		all = append(all, fmt.Sprint(i))
	}
	return all
}
