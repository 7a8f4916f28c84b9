package socketauth

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"hash"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/z-open/socketauth/internal/throttle"
)

// deviceCookie is the name of a cookie that proves to a later login that this browser was logged in
// to an account before, so that the failures of others at that account do not hold its owner up. It
// is only set if the addresses of clients are not known: Options.ClientIP is nil, and the peer may
// be a proxy. It does not log anybody in, and is of no use for another account.
const deviceCookie = "socketauth_device"

const (
	deviceLifetime = 14 * 24 * time.Hour // as long as package throttle remembers an address
	maxDevices     = 4                   // how many proofs one cookie has
)

// devices writes and reads deviceCookie. Its value is a list of proofs, the newest first, each for
// an account. A proof is a random name of the device, the time when the proof expires, and an HMAC
// of both with the account.
type devices struct {
	macs *sync.Pool // of hash.Hash: HMACs with the key
}

const (
	deviceName   = 16                // bytes of the name of a device
	deviceSigned = deviceName + 8    // bytes of a proof that the HMAC covers
	deviceProof  = deviceSigned + 16 // bytes of a proof
)

// newDevices derives the key of the proofs, so that they are valid after a restart and in all
// processes. Without a secret and a cluster they are valid in this process only.
func newDevices(secret []byte, c clusterConfig) devices {
	key := purposeKey(secret, c, "socketauth device cookie")
	return devices{macs: &sync.Pool{New: func() any { return hmac.New(sha256.New, key) }}}
}

// purposeKey returns a key for one purpose, which is derived from the secret, or else from that of
// the cluster. Without either it is random.
func purposeKey(secret []byte, c clusterConfig, purpose string) []byte {
	if len(secret) == 0 {
		secret = c.subkey(purpose + " v1")
	}
	if len(secret) == 0 {
		secret = make([]byte, 32)
		_, _ = rand.Read(secret)
	}
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(purpose)) // no JWT is signed like this: it would have dots
	return mac.Sum(nil)
}

// find returns the name of the device that a request comes from, if it proves that it was logged in
// to these accounts before, and otherwise "".
func (d devices) find(r *http.Request, accounts accountsHash) (name string) {
	for _, proof := range d.read(r) {
		if d.proves(proof, accounts) {
			return string(proof[:deviceName])
		}
	}
	return ""
}

// remember sends the browser a proof that it was logged in to these accounts, whose hash is given,
// with the proofs that it has for others.
func (d devices) remember(w http.ResponseWriter, r *http.Request, accounts []string, hash accountsHash) {
	if strings.TrimSpace(strings.Join(accounts, "")) == "" {
		return
	}
	proof := make([]byte, deviceSigned, deviceProof)
	_, _ = rand.Read(proof[:deviceName])
	binary.BigEndian.PutUint64(proof[deviceName:], uint64(time.Now().Add(deviceLifetime).Unix()))
	proof = append(proof, d.sign(proof, hash)...)
	values := []string{base64.RawURLEncoding.EncodeToString(proof)}
	for _, other := range d.read(r) {
		value := base64.RawURLEncoding.EncodeToString(other)
		if len(values) < maxDevices && !d.proves(other, hash) && !slices.Contains(values, value) {
			values = append(values, value)
		}
	}
	http.SetCookie(w, &http.Cookie{
		Name:     deviceCookie,
		Value:    strings.Join(values, "."),
		MaxAge:   int(deviceLifetime / time.Second),
		HttpOnly: true,
		SameSite: http.SameSiteStrictMode,
		Secure:   r.TLS != nil || strings.HasPrefix(r.Header.Get("Origin"), "https://"),
		// No Path: a proxy may have removed a part of the path, and the browser's default is right.
	})
}

// read returns the proofs in a request, which are not verified. The browser may have several
// cookies of the name: of other paths, or set by another host of the site. They have no particular
// order.
func (d devices) read(r *http.Request) (proofs [][]byte) {
	cookies := r.CookiesNamed(deviceCookie)
	for _, cookie := range cookies[:min(len(cookies), maxDevices)] {
		values := strings.SplitN(cookie.Value, ".", maxDevices+1)
		for _, value := range values[:min(len(values), maxDevices)] {
			if len(value) != base64.RawURLEncoding.EncodedLen(deviceProof) {
				continue
			}
			if proof, err := base64.RawURLEncoding.Strict().DecodeString(value); err == nil {
				proofs = append(proofs, proof)
			}
		}
	}
	return proofs
}

// proves reports whether a proof is valid for these accounts and has not expired.
func (d devices) proves(proof []byte, accounts accountsHash) bool {
	expires := binary.BigEndian.Uint64(proof[deviceName:])
	genuine := hmac.Equal(proof[deviceSigned:], d.sign(proof[:deviceSigned], accounts))
	return genuine && time.Now().Unix() < int64(expires)
}

// sign returns the HMAC of the signed part of a proof with the accounts.
func (d devices) sign(signed []byte, accounts accountsHash) []byte {
	mac := d.macs.Get().(hash.Hash)
	defer d.macs.Put(mac)
	mac.Reset()
	mac.Write(signed)
	mac.Write(accounts[:])
	return mac.Sum(nil)[:deviceProof-deviceSigned]
}

// accountsHash is a hash of the accounts that a login may be for. Names that package throttle
// counts as one account have the same hash.
type accountsHash [sha256.Size]byte

// hashAccounts returns the hash of names. It is computed once for each request, since names may be
// long.
func hashAccounts(accounts []string) (h accountsHash) {
	sum := sha256.New()
	for _, account := range accounts {
		account = throttle.Account(account)
		sum.Write(binary.BigEndian.AppendUint64(nil, uint64(len(account))))
		sum.Write([]byte(account))
	}
	return accountsHash(sum.Sum(nil))
}

// forwardedFor returns what the proxy headers of a request say about the client, or "". If no proxy
// sets them, the client can send anything, so they must not give it an advantage: they only tell
// clients apart that do not lie.
func forwardedFor(r *http.Request) string {
	client := ""
	for _, header := range []string{"X-Forwarded-For", "X-Real-Ip"} {
		values := r.Header[header]
		if len(values) == 0 {
			continue
		}
		last := values[len(values)-1] // the nearest proxy has added the last one
		last = last[strings.LastIndexByte(last, ',')+1:]
		last = strings.TrimSpace(last[:min(len(last), maxHeaderLength)])
		client += header + " " + throttle.Network(last) + "\n"
	}
	return client
}
