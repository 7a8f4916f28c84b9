package throttle

import (
	"crypto/sha256"
	"encoding/binary"
	"net/netip"
	"strings"
	"unicode"
	"unicode/utf8"
)

// secret hashes names to keys. A key is a part of the SHA-256 of the secret and the name, so a key
// does not reveal its name, and without the secret nobody can find two names with the same key or
// set.
type secret [32]byte

const hashed = 256 // up to so many bytes, hashing does not allocate

// address returns the key of an address, or 0 for "".
func (s *secret) address(address string) uint64 {
	if address == "" {
		return 0
	}
	b := append(append(make([]byte, 0, hashed), s[:]...), 'a')
	return sum(appendAddress(b, address))
}

// wide returns the key of the IPv6 /48 that an address is in, or 0 if there is none.
func (s *secret) wide(address string) uint64 {
	network, ok := wide(address)
	if !ok {
		return 0
	}
	b := append(append(make([]byte, 0, hashed), s[:]...), 'w')
	return sum(network.AppendTo(b))
}

// name returns the key of a name of that kind, or 0 for "".
func (s *secret) name(kind byte, name string) uint64 {
	if name == "" {
		return 0
	}
	return sum(append(append(append(make([]byte, 0, hashed), s[:]...), kind), name...))
}

// account returns the key of an account, or 0 for an empty name.
func (s *secret) account(account string) uint64 {
	b := append(append(make([]byte, 0, hashed), s[:]...), 'u')
	named := appendAccount(b, account)
	if len(named) == len(b) {
		return 0
	}
	return sum(named)
}

func sum(b []byte) uint64 {
	h := sha256.Sum256(b)
	return max(1, binary.LittleEndian.Uint64(h[:8]))
}

// Network returns what an address is counted as: an IPv4 address, also if it is written as IPv6, or
// the /64 of an IPv6 address, all of which one client has, without zone. Port, brackets and quotes
// are removed. Anything else is returned unchanged.
func Network(address string) string { return string(appendAddress(nil, address)) }

// Wide returns the IPv6 /48 that an address or a result of Network is in. One customer of a
// provider, or of a free tunnel, may have all of it. Anything else is returned as Network returns
// it.
func Wide(address string) string {
	if network, ok := wide(address); ok {
		return network.String()
	}
	return Network(address)
}

const wideBits = 48

func wide(address string) (netip.Prefix, bool) {
	if address == "" {
		return netip.Prefix{}, false
	}
	ip, err := Parse(address)
	if err != nil {
		network, err := netip.ParsePrefix(address)
		if err != nil {
			return netip.Prefix{}, false
		}
		ip = network.Addr()
	}
	if ip = unmap(ip); ip.Is4() {
		return netip.Prefix{}, false
	}
	network, _ := ip.Prefix(wideBits) // does not fail for an IPv6 address
	return network, true
}

func appendAddress(b []byte, address string) []byte {
	ip, err := Parse(address)
	if err != nil {
		return append(b, address...)
	}
	if ip = unmap(ip); ip.Is4() {
		return ip.AppendTo(b)
	}
	network, _ := ip.Prefix(64) // removes the zone; does not fail for an IPv6 address
	return network.AppendTo(b)
}

// nat64 is the prefix under which translators between IPv4 and IPv6 map all IPv4 addresses (RFC
// 6052), each of which is a client of its own, in one /64.
var nat64 = netip.MustParsePrefix("64:ff9b::/96")

// unmap returns the IPv4 address that is mapped to ip, or ip if there is none.
func unmap(ip netip.Addr) netip.Addr {
	if nat64.Contains(ip.WithZone("")) {
		b := ip.As16()
		return netip.AddrFrom4([4]byte(b[12:]))
	}
	return ip.Unmap()
}

// Parse parses an IP address as it occurs in headers: bare, quoted, in brackets, with a port.
func Parse(address string) (netip.Addr, error) {
	if ip, err := netip.ParseAddr(address); err == nil {
		return ip, nil // untrimmed: a zone may end with a space
	}
	text := within(strings.TrimSpace(address), `"`, `"`)
	ip, err := netip.ParseAddr(within(text, "[", "]"))
	if err == nil {
		return ip, nil
	}
	pair, err := netip.ParseAddrPort(text)
	return pair.Addr(), err
}

// within removes a pair of marks, if both are there.
func within(text, first, last string) string {
	if inside, ok := strings.CutPrefix(text, first); ok {
		if inside, ok = strings.CutSuffix(inside, last); ok {
			return inside
		}
	}
	return text
}

// Account returns what an account is counted as: without surrounding space, and in one case.
func Account(account string) string { return string(appendAccount(nil, account)) }

// appendAccount appends what Account returns.
func appendAccount(b []byte, account string) []byte {
	for _, r := range strings.TrimSpace(account) {
		b = utf8.AppendRune(b, fold(r))
	}
	return b
}

// fold returns the smallest of the runes that differ only in case. Unlike strings.ToLower, it makes
// all names equal that strings.EqualFold takes for equal.
func fold(r rune) rune {
	switch {
	case 'a' <= r && r <= 'z':
		return r - 'a' + 'A'
	case r < utf8.RuneSelf:
		return r
	case r == '\u0130', r == '\u0131':
		// The i with and without its dot, which strings.ToLower and ToUpper make plain.
		return 'I'
	}
	least := r
	for next := unicode.SimpleFold(r); next != r; next = unicode.SimpleFold(next) {
		least = min(least, next)
	}
	return least
}
