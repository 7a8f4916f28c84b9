package socketauth

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/z-open/socketauth/internal/throttle"
)

// deviceCookie proves to a later login that this browser was let in to an account before, so that strangers who guess at
// that account do not hold its owner up. It is set only where clients have no address to be known by: Options.ClientIP is
// nil, and the peer may be a proxy. It lets nobody in, and is of no use but at the account it was made for.
const deviceCookie = "socketauth_device"

const (
	deviceLifetime = 14 * 24 * time.Hour // as long as an address is known good
	maxDevices     = 4                   // accounts that one browser is known for
)

// devices makes and reads the values of deviceCookie: proofs, the newest first, each a random name, when it ends, and an
// HMAC of both with the account.
type devices struct {
	key []byte
}

const (
	deviceName   = 16 // bytes of a proof that name the device
	deviceSigned = deviceName + 8
	deviceProof  = deviceSigned + 16
)

// newDevices derives its key from the secret, so that proofs survive a restart and are good in all processes. Without a
// secret they end with the process.
func newDevices(secret []byte) devices {
	if len(secret) == 0 {
		secret = make([]byte, 32)
		_, _ = rand.Read(secret)
	}
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte("socketauth device cookie")) // never what a JWT signs, which has a dot
	return devices{key: mac.Sum(nil)}
}

// find returns the name of the device that a request proves to come from, if that was let in to these accounts before, and
// otherwise "".
func (d devices) find(r *http.Request, accounts accountsHash) (name string) {
	for _, proof := range d.read(r) {
		if d.proves(proof, accounts) {
			return string(proof[:deviceName])
		}
	}
	return ""
}

// remember has the browser keep a proof that it was let in to these accounts, beside those that it has for others.
func (d devices) remember(w http.ResponseWriter, r *http.Request, accounts []string) {
	if strings.TrimSpace(strings.Join(accounts, "")) == "" {
		return
	}
	proof := make([]byte, deviceSigned, deviceProof)
	_, _ = rand.Read(proof[:deviceName])
	binary.BigEndian.PutUint64(proof[deviceName:], uint64(time.Now().Add(deviceLifetime).Unix()))
	hash := hashAccounts(accounts)
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
		// No Path: a proxy may have taken a part of it off, and the browser's default is right.
	})
}

// read returns what may be proofs in a request. The browser may have several cookies of the name: of
// other paths, or set by another host of the site. Their order says nothing.
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

func (d devices) proves(proof []byte, accounts accountsHash) bool {
	ends := binary.BigEndian.Uint64(proof[deviceName:])
	return hmac.Equal(proof[deviceSigned:], d.sign(proof[:deviceSigned], accounts)) && time.Now().Unix() < int64(ends)
}

// sign makes the HMAC of the signed part of a proof with the accounts.
func (d devices) sign(signed []byte, accounts accountsHash) []byte {
	mac := hmac.New(sha256.New, d.key)
	mac.Write(signed)
	mac.Write(accounts[:])
	return mac.Sum(nil)[:deviceProof-deviceSigned]
}

// accountsHash stands for the accounts that a login may be for. Names that are counted as one account
// have the same.
type accountsHash [sha256.Size]byte

// hashAccounts hashes names, which may be long, once for all proofs of a request.
func hashAccounts(accounts []string) (h accountsHash) {
	sum := sha256.New()
	for _, account := range accounts {
		account = throttle.Account(account)
		sum.Write(binary.BigEndian.AppendUint64(nil, uint64(len(account))))
		sum.Write([]byte(account))
	}
	return accountsHash(sum.Sum(nil))
}

// toldOf returns what a request says of the client that a proxy had it from, "" for nothing. A client can say anything
// where its proxy does not replace or add to these headers, so it must buy nothing: it only keeps those apart who do not
// lie.
func toldOf(r *http.Request) string {
	told := ""
	for _, header := range []string{"X-Forwarded-For", "X-Real-Ip"} {
		values := r.Header[header]
		if len(values) == 0 {
			continue
		}
		last := values[len(values)-1] // what the nearest proxy has added
		last = last[strings.LastIndexByte(last, ',')+1:]
		told += header + " " + throttle.Network(strings.TrimSpace(last[:min(len(last), maxHeaderLength)])) + "\n"
	}
	return told
}
