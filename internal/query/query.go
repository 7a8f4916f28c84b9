// Package query looks up parameters in the query of a URL without decoding the others.
package query

import (
	"net/url"
	"strings"
)

// Get returns the first value of a parameter, as url.ParseQuery finds it in a raw query. ok is
// false if the query does not have the parameter.
func Get(raw, name string) (value string, ok bool) {
	for raw != "" {
		var pair string
		pair, raw, _ = strings.Cut(raw, "&")
		if pair == "" || strings.IndexByte(pair, ';') >= 0 { // url.ParseQuery skips these too
			continue
		}
		key, value, _ := strings.Cut(pair, "=")
		if key, ok = unescape(key); !ok || key != name {
			continue
		}
		if value, ok = unescape(value); ok {
			return value, true
		}
	}
	return "", false
}

// Value is Get for callers to whom a parameter without a value is as good as none.
func Value(raw, name string) string {
	value, _ := Get(raw, name)
	return value
}

func unescape(s string) (text string, ok bool) {
	if strings.IndexByte(s, '%') < 0 && strings.IndexByte(s, '+') < 0 {
		return s, true
	}
	text, err := url.QueryUnescape(s)
	return text, err == nil
}
