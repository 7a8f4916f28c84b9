package socketauth_test

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/z-open/socketauth"
)

// TestDecodeSecret checks the base64 alphabets that DecodeSecret reads, and that its error does not
// quote the secret.
func TestDecodeSecret(t *testing.T) {
	raw := []byte{0xfb, 0xff, 0xfe, 1, 2}
	for _, s := range []string{
		base64.StdEncoding.EncodeToString(raw), base64.RawStdEncoding.EncodeToString(raw),
		base64.URLEncoding.EncodeToString(raw), base64.RawURLEncoding.EncodeToString(raw), "  " + base64.StdEncoding.EncodeToString(raw) + "\n",
	} {
		if got, err := socketauth.DecodeSecret(s); err != nil || string(got) != string(raw) {
			t.Errorf("%q: %x, %v", s, got, err)
		}
	}
	if _, err := socketauth.DecodeSecret("hunter2!"); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("what is not base64: %v", err)
	}
}

// FuzzDecodeSecret checks that no error quotes the secret, and that a secret survives each
// encoding.
func FuzzDecodeSecret(f *testing.F) {
	for _, s := range []string{"", "AAAA", "hunter2!", " YWJj+/== ", "YWJj-_", "YWJ", "YW=J", "YWJj\nYWJj"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		secret, err := socketauth.DecodeSecret(s)
		if err != nil {
			if strings.TrimSpace(s) != "" && len(s) > 7 && strings.Contains(err.Error(), s) {
				t.Errorf("%v quotes %q", err, s)
			}
			return
		}
		for _, e := range []*base64.Encoding{base64.StdEncoding, base64.RawStdEncoding, base64.URLEncoding, base64.RawURLEncoding} {
			if again, err := socketauth.DecodeSecret(e.EncodeToString(secret)); err != nil || string(again) != string(secret) {
				t.Errorf("%q is %x, and that once more %x, %v", s, secret, again, err)
			}
		}
	})
}
