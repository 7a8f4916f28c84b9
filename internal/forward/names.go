package forward

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/z-open/socketauth/internal/id"
)

// NameLength is how long the name of a process is, in characters.
const NameLength = 8

// lettersAndDigits has no character that means anything in the configuration of a proxy.
var lettersAndDigits = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// names knows the names of processes. A name follows from the URL that the process advertises, so
// that it stays the same when the process is started again, and a load balancer can have a rule for
// it. A client, which does not have the key, cannot learn the URL from it.
type names struct {
	key []byte

	mu    *sync.Mutex
	known map[string]string // by URL
}

func newNames(key []byte) (names, error) {
	key, err := hkdf.Key(sha256.New, key, nil, "socketauth names of processes v1", sha256.Size)
	if err != nil {
		return names{}, fmt.Errorf("deriving the key of the names of processes: %w", err)
	}
	return names{key, new(sync.Mutex), make(map[string]string)}, nil
}

// NameOf returns the name of the process that advertises a URL.
func NameOf(key []byte, url string) (string, error) {
	n, err := newNames(key)
	if err != nil {
		return "", err
	}
	return n.of(url), nil
}

// of returns the name of the process that advertises a URL.
func (n names) of(url string) string {
	h := hmac.New(sha256.New, n.key)
	h.Write([]byte(url))
	return lettersAndDigits.EncodeToString(h.Sum(nil)[:NameLength*5/8])
}

// find returns which of the URLs has the name, or "" if none has.
func (n names) find(name string, urls []string) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.known) > 2*len(urls)+8 { // some have gone
		for url := range n.known {
			if !slices.Contains(urls, url) {
				delete(n.known, url)
			}
		}
	}
	for _, url := range urls {
		known, ok := n.known[url]
		if !ok {
			known = n.of(url)
			n.known[url] = known
		}
		if known == name {
			return url
		}
	}
	return ""
}

// nameOf returns the name that the id of a connection begins with, or "" if it begins with none.
func nameOf(sid string) string {
	if len(sid) != NameLength+id.Length || strings.Trim(sid[:NameLength], "abcdefghijklmnopqrstuvwxyz234567") != "" {
		return ""
	}
	if _, ok := id.Parse(sid[NameLength:]); !ok {
		return ""
	}
	return sid[:NameLength]
}
