package forward

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"net/http"
	"strings"
	"time"
)

const (
	// headerPrefix begins the headers that only this package sets. A request of a client loses them.
	headerPrefix = "X-Socketauth-"

	// headerName is the header of a request that was handed on.
	headerName = headerPrefix + "Forwarded"
)

// window is how far the time of a header may be from this process's clock, so that who has seen a
// header cannot use it again for long. The clocks of processes may differ by as much.
const window = 30 * time.Second

// claim is what a process says of a request that it hands on: who sent it. The process that serves
// the request believes it if it comes with the right MAC.
type claim struct {
	peer   string // RemoteAddr of the request, which may be of a proxy
	client string // the address of the client
}

// bounds is what a claim is for. It is not in the header, since the receiver knows it too.
type bounds struct {
	name   string // of the process that the request is handed on to
	method string
	uri    string // path and query, as sent
}

// A header is the base64url text of a version, the number of times that the request was handed on,
// the time in milliseconds, the texts of the claim with their lengths, and a MAC.
const (
	version    = 1
	hops       = 1
	fixed      = 2 + 8 // bytes before the texts
	maxText    = 255
	maxEncoded = fixed + 2*(1+maxText) + sha256.Size
)

// encoding has one text for each value.
var encoding = base64.RawURLEncoding.Strict()

var (
	errForged = errors.New("it has no valid MAC for this request")
	errTime   = errors.New("its time is too far from this process's")
)

// seal returns the header with a claim.
func seal(key []byte, to bounds, at time.Time, c claim) string {
	b := make([]byte, 0, maxEncoded)
	b = append(b, version, hops)
	b = binary.BigEndian.AppendUint64(b, uint64(at.UnixMilli()))
	for _, text := range [...]string{c.peer, c.client} {
		text = text[:min(len(text), maxText)]
		b = append(append(b, byte(len(text))), text...)
	}
	return encoding.EncodeToString(append(b, mac(key, to, b)...))
}

// open returns the claim of a header, if it is valid for a request that has come at the given time.
func open(key []byte, to bounds, at time.Time, header string) (claim, error) {
	if len(header) > encoding.EncodedLen(maxEncoded) || strings.ContainsAny(header, "\r\n") {
		return claim{}, errForged
	}
	b, err := encoding.DecodeString(header)
	if err != nil || len(b) < sha256.Size {
		return claim{}, errForged
	}
	b, sum := b[:len(b)-sha256.Size], b[len(b)-sha256.Size:]
	if !hmac.Equal(sum, mac(key, to, b)) || len(b) < fixed || b[0] != version || b[1] != hops {
		return claim{}, errForged
	}
	sent := time.UnixMilli(int64(binary.BigEndian.Uint64(b[2:])))
	peer, rest, ok := text(b[fixed:])
	client, rest, more := text(rest)
	if !ok || !more || len(rest) > 0 {
		return claim{}, errForged
	}
	if age := at.Sub(sent); age > window || age < -window {
		return claim{}, errTime
	}
	return claim{peer, client}, nil
}

// text returns the text that b begins with, and what follows it.
func text(b []byte) (text string, rest []byte, ok bool) {
	if len(b) == 0 || len(b)-1 < int(b[0]) {
		return "", nil, false
	}
	n := int(b[0])
	return string(b[1 : 1+n]), b[1+n:], true
}

// mac returns the MAC of a header's content, for one request to one process.
func mac(key []byte, to bounds, content []byte) []byte {
	h := hmac.New(sha256.New, key)
	var length [8]byte
	for _, field := range [...][]byte{[]byte(to.name), []byte(to.method), []byte(to.uri), content} {
		binary.BigEndian.PutUint64(length[:], uint64(len(field)))
		h.Write(length[:])
		h.Write(field)
	}
	return h.Sum(nil)
}

// take removes all headers that only this package sets, and returns the values of the one that a
// process sets.
func take(h http.Header) (values []string, found bool) {
	for name, v := range h {
		if len(name) >= len(headerPrefix) && strings.EqualFold(name[:len(headerPrefix)], headerPrefix) {
			delete(h, name)
			if found = true; name == headerName {
				values = v
			}
		}
	}
	return values, found
}
